"""The bus directory is emptied, or the clock is set back, while a conversation goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from shared import messages
from shared.audio import pcm
from tests.support.forger import command
from tests.support.pipeline import UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

#: A stage whose wall clock is an hour behind.
LATE = """
import runpy, sys, time

time_ns, now = time.time_ns, time.time
time.time_ns = lambda: time_ns() - 3_600_000_000_000
time.time = lambda: now() - 3600.0
_, name, *sys.argv[1:] = sys.argv
runpy.run_module(f"services.{name}", run_name="__main__")
"""
STAGES = ("uplink", "link", "downlink", "playback", "capture", "echo")


def late(pipeline: Pipeline, name: str) -> Child:
    """Start a stage whose wall clock is an hour behind."""
    return pipeline.run(sys.executable, "-u", "-c", LATE, name, *pipeline.options({}))


@pytest.fixture(scope="module")
def stages(kept: Keeper) -> Iterator[tuple[Pipeline, dict[str, Child]]]:
    """Begin a conversation in which the server speaks first, at each session."""
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings["session.greeting"] = "Say something."
        pipeline.settings["downlink.keep_history"] = False
        pipeline.emulator("--reply", "tone:60")
        stages = pipeline.all_up(*STAGES)
        pipeline.meet()
        yield pipeline, stages


def test_an_emptied_directory_is_filled_again_and_a_restarted_stage_finds_the_others(
    stages: tuple[Pipeline, dict[str, Child]],
) -> None:
    pipeline, running = stages
    for path in pipeline.bus_directory.iterdir():
        path.unlink()
    for child in running.values():
        child.wait_line("was emptied, .* has made its files again")
    for name, again in {name: pipeline.stage(name) for name in running}.items():
        assert again.wait() == 3
        assert f"{name} is already running (pid {running[name].pid})" in again.output
    running["echo"].end(signal.SIGKILL)
    running["echo"].codes = {-signal.SIGKILL}
    since = pipeline.bus.now
    running["echo"] = pipeline.up("echo")
    # It gets what it reads, and its readers get what it publishes.
    found = pipeline.bus.health("echo", lambda h: h.received.get("mic.frame", 0) > 10, since=since)
    assert found.received["speaker.frame"] > 0
    uplink = pipeline.bus.health("uplink", since=since)
    pipeline.bus.health("uplink", lambda h: h.received["mic.clean"] > uplink.received["mic.clean"])


def test_a_clock_that_is_set_back_across_a_restart_puts_nothing_behind(
    stages: tuple[Pipeline, dict[str, Child]],
) -> None:
    pipeline, running = stages
    first = pipeline.bus.wait_for(messages.Heard, lambda h: h.items).message
    command(pipeline, "interrupt")
    flushed = pipeline.bus.wait_for(messages.Heard, lambda h: h.generation > first.generation)
    mic = pipeline.bus.wait_for(messages.MicFrame).message.stream
    speaker = pipeline.bus.wait_for(messages.SpeakerFrame).message.stream
    session = pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "open").message.session
    again = ("downlink", "playback", "capture", "link")
    for name in again:
        running[name].end(signal.SIGKILL)
        running[name].codes = {-signal.SIGKILL}
    since = pipeline.bus.now
    for name in again:
        running[name] = late(pipeline, name)
        pipeline.ready(name, running[name])
    opened = pipeline.bus.wait_for(
        messages.LinkState, lambda s: s.state == "open", since=since
    ).message
    assert opened.session > session
    # The new session's greeting is heard, in a newer generation.
    heard = pipeline.bus.wait_for(
        messages.Heard,
        lambda h: any(item.heard > pcm.RATE // 10 for item in h.items),
        since=since,
    ).message
    assert heard.generation > flushed.message.generation
    assert pipeline.bus.wait_for(messages.MicFrame, since=since).message.stream > mic
    assert pipeline.bus.wait_for(messages.SpeakerFrame, since=since).message.stream > speaker
