"""Every stage alone: its first lines, how it ends, and the settings that it refuses."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import pytest

from shared import bus, codec, messages, registry
from tests.support.pipeline import GONE_S, SLACK_S, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

STAGES = registry.PROCESSES
LARGEST = 2**63 - 1
SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: What the first lines of a stage also contain: its device, or what the stage waits for.
FIRST = {
    "capture": r"microphone: null: silence, latency 0 ms",
    "echo": r"echo canceller on; waiting for mic\.frame",
    "vad": r"threshold 0\.5; waiting for mic\.clean",
    "uplink": r"voice marin, turn detection server_vad; waiting for link to open",
    "link": r"connecting to ws://127\.0\.0\.1:\d+$",
    "downlink": r"waiting for server events from link",
    "playback": r"speaker: null: nothing is heard, latency 10 ms$(?s:.*)waiting for reply\.audio$",
    "tools": r"no functions are configured: tools\.modules and tools\.mcp_file name them",
    "monitor": r"the door is open at http://127\.0\.0\.1:\d+/",
    "recorder": r"recording \S+/conversation\.wav",
}


def ends(child: Child, number: int) -> None:
    """Check that a stage ends within a second after a signal, without an error."""
    begin = time.monotonic()
    assert child.end(number) == 0, child.output
    assert time.monotonic() - begin < GONE_S + SLACK_S


@pytest.fixture(scope="module")
def idle(kept: Keeper) -> Iterator[dict[tuple[str, int], Child]]:
    """Start every stage twice, each on its own bus, and wait until all are idle."""
    with Pipeline(kept) as pipeline, socket.socket() as hole:
        # This socket never accepts a connection, so link keeps waiting.
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        url = f"ws://127.0.0.1:{hole.getsockname()[1]}"
        started = {}
        for number in SIGNALS:
            for stage in STAGES:
                directory = pipeline.directory / f"{stage}{number}"
                settings = {
                    "bus.directory": directory,
                    "recorder.directory": directory,
                    "link.url": url,
                }
                started[stage, int(number)] = pipeline.stage(stage, settings=settings)
        for child in started.values():
            child.wait_line("listens for")
        yield started


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_lines_say_where_and_what(idle: dict[tuple[str, int], Child], stage: str) -> None:
    child = idle[stage, signal.SIGTERM]
    first = "\n".join(child.lines[:4])
    [publishes] = re.findall(rf"{stage} \(pid {child.pid}\) publishes on (.+)", first)
    endpoints = dict.fromkeys(topic.endpoint for topic in registry.published_by(stage))
    assert [address.rpartition("/")[2] for address in publishes.split()] == [
        f"{endpoint}.ipc" for endpoint in endpoints
    ]
    [listens] = re.findall(r"listens for (.+)", first)
    assert (listens == "nothing") == (stage == "capture")
    for name, publisher in re.findall(r"(\S+)\((\S+)\)", listens):
        assert registry.BY_NAME[name].publisher == publisher
    assert re.search(FIRST[stage], first, re.MULTILINE), first


def test_a_second_copy_is_refused_with_the_pid_of_the_first(
    idle: dict[tuple[str, int], Child], pipeline: Pipeline
) -> None:
    seconds = {}
    for stage in STAGES:
        [directory] = re.findall(r"publishes on ipc://(\S+)/", idle[stage, signal.SIGTERM].output)
        seconds[stage] = pipeline.stage(stage, settings={"bus.directory": directory})
    for stage, second in seconds.items():
        first = idle[stage, signal.SIGTERM]
        assert second.wait() == 3
        [line] = second.lines
        assert f"{stage} is already running (pid {first.pid})" in line
        assert first.running


def test_a_lock_left_behind_by_a_kill_holds_nobody_up(pipeline: Pipeline) -> None:
    pipeline.up("uplink").end(signal.SIGKILL)
    pipeline.up("uplink")


# This test ends the idle stages, so it comes after the other tests that use them.
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_it_within_a_second(
    idle: dict[tuple[str, int], Child], stage: str, number: int
) -> None:
    child = idle[stage, number]
    assert child.running
    ends(child, number)


#: A stage whose device blocks in C, either while it is opened or while it is closed.
STUCK = """
import os, importlib, sys
from shared.audio import devices

_, name, when, *options = sys.argv

class Stuck:
    description, rate, latency_ns, underflows = "stuck", 24000, 0, 0
    def start(self, callback):
        if when == "opening":
            block()
    def stop(self):
        block()
    def failure(self):
        return None
    warning = failure

def block():
    print("blocked", flush=True)
    os.read(os.pipe()[0], 1)

devices.open_input = devices.open_output = lambda *_: Stuck()
sys.argv[1:] = options
raise SystemExit(importlib.import_module(f"services.{name}.__main__").main())
"""


@pytest.mark.parametrize(
    ("stage", "when", "number"),
    [
        ("capture", "opening", signal.SIGINT),
        ("capture", "closing", signal.SIGTERM),
        ("playback", "opening", signal.SIGTERM),
        ("playback", "closing", signal.SIGINT),
    ],
)
def test_a_signal_ends_it_though_its_device_blocks(
    pipeline: Pipeline, stage: str, when: str, number: int
) -> None:
    options = pipeline.options({})
    child = pipeline.run(sys.executable, "-u", "-c", STUCK, stage, when, *options)
    child.wait_line("blocked" if when == "opening" else "listens for")
    ends(child, number)
    assert child.matching("blocked")


@contextmanager
def flood(pipeline: Pipeline, *, valid: bool) -> Iterator[None]:
    """Publish microphone frames in place of echo, faster than a stage can read them."""
    frame = messages.MicClean(stream=1, position=0, captured_ns=0, overflows=0)
    header, payload = codec.encode(frame, messages.Stamp(seq=0, epoch=1, t=0))
    # A reader parses an unknown field and ignores it, which takes about 2 ms here.
    fields = {**msgpack.unpackb(header), "pad": [{}] * 4000, "seq": LARGEST}
    before, after = msgpack.packb(fields).split(LARGEST.to_bytes(8, "big"))
    ending = threading.Event()
    publisher = bus.Publisher("echo", pipeline.bus_directory)

    def pour() -> None:
        for number in itertools.takewhile(lambda _: not ending.is_set(), itertools.count()):
            seq = number if valid else 0
            header = before + seq.to_bytes(8, "big") + after
            publisher._sockets["echo"].send_multipart([b"mic.clean", header, payload])

    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        publisher.close()


@pytest.mark.parametrize(
    ("counter", "number"),
    [("frames_unsent", signal.SIGTERM), ("refused", signal.SIGINT)],
    ids=["with frames", "with what is refused"],
)
def test_a_signal_ends_it_though_the_bus_is_flooded(
    kept: Keeper, counter: str, number: int
) -> None:
    # The test does not read the flood itself: that would slow it down.
    with Pipeline(kept, [registry.health("uplink")]) as pipeline:
        child = pipeline.up("uplink")
        with flood(pipeline, valid=counter == "frames_unsent"):
            begun = pipeline.bus.health("uplink", lambda h: h.counters.get(counter, 0) > 100)
            # The stage still publishes its health.
            enough = begun.counters[counter] + 100
            pipeline.bus.health("uplink", lambda h: h.counters.get(counter, 0) > enough)
            ends(child, number)


def test_bad_settings_are_all_told_at_once(pipeline: Pipeline) -> None:
    pipeline.config.write_text('[session]\nvoise = "cedar"\n[link]\nretry_first_ms = "soon"\n')
    wrong = ("--set", "uplink.max_age_ms=-1", "--set", "capture", "--log-level", "info")
    env = {"BARGEIN_PLAYBACK__JITER_MS": "40", "BARGEIN_PLAYBACK__FADE_MS": "much"}
    for stage in ("uplink", "recorder"):
        child = pipeline.stage(stage, *wrong, env=env)
        assert child.wait() == 2
        assert len(child.lines) == 6
        assert all(line.startswith("config: ") for line in child.lines)
        for told in (
            "config.toml: session.voise: unknown: did you mean session.voice?",
            "config.toml: link.retry_first_ms = 'soon'",
            "BARGEIN_PLAYBACK__JITER_MS: playback.jiter_ms: unknown: did you mean playback.jitter",
            "BARGEIN_PLAYBACK__FADE_MS: playback.fade_ms = 'much'",
            "--set: uplink.max_age_ms = -1",
            "--set capture: expected section.key=value",
        ):
            assert told in child.output


@pytest.mark.parametrize("stage", ["capture", "playback"])
def test_devices_are_listed_beside_a_running_stage(pipeline: Pipeline, stage: str) -> None:
    running = pipeline.up(stage)
    listing = pipeline.stage(stage, "--list-devices")
    assert listing.wait() == 0
    kind = "input" if stage == "capture" else "output"
    assert listing.matching(rf"PortAudio finds no {kind} devices|index +name +host API")
    assert running.running
