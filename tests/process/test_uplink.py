"""Uplink sends each microphone frame or counts why it did not, and configures each session once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness import recordings
from shared import messages
from shared.audio import pcm
from tests.support import servers
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process

STAGES = ("echo", "uplink", "link", "capture")


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Return a pipeline whose test observes the bus and consumes no held message."""
    with Pipeline(kept, UNHELD) as made:
        # The tests recognize a frame by its samples, which the canceller would change.
        made.settings["echo.enabled"] = False
        yield made


def numbers(connection: Connection) -> list[int]:
    """Return the numbers of the frames that a server received, after checking their samples."""
    frames = [recordings.appended(a.event) for a in connection.of("input_audio_buffer.append")]
    assert all(frame == [frame[0]] * pcm.FRAME for frame in frames)
    return [frame[0] for frame in frames]


def captured(pipeline: Pipeline) -> dict[int, messages.MicFrame]:
    """Return the frames of the numbered microphone, by their number."""
    return {recordings.number(f.payload): f for f in pipeline.bus.all(messages.MicFrame)}


def accounted(health: messages.Health) -> int:
    """Return how many frames uplink has counted, whether it sent them or not."""
    names = ("sent", "unsent", "late", "lost", "silent")
    return sum(health.counters.get(f"frames_{name}", 0) for name in names)


def test_every_frame_is_sent_in_its_order_or_accounted_for(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    max_age_ms, stopped_ms = 600, 2000
    pipeline.settings |= {
        "capture.device": recordings.numbered(tmp_path / "numbers.wav", 1000),
        "uplink.max_age_ms": max_age_ms,
    }
    with Server(servers.serve) as server:
        pipeline.settings["link.url"] = server.url
        # Downlink runs because uplink waits for downlink's history before sending the microphone.
        uplink = pipeline.all_up("echo", "uplink", "downlink", "link")["uplink"]
        connection = server.wait()
        connection.wait("session.update")
        capture = pipeline.stage("capture")
        connection.wait("input_audio_buffer.append")
        # Stop uplink for stopped_ms. The microphone goes on.
        uplink.send(signal.SIGSTOP)
        begun = pipeline.bus.wait_for(messages.MicFrame, since=pipeline.bus.now).message
        late_ns = begun.captured_ns + stopped_ms * 1_000_000
        pipeline.bus.wait_for(messages.MicFrame, lambda f: f.captured_ns > late_ns)
        went_on_ns = time.monotonic_ns()
        uplink.send(signal.SIGCONT)
        pipeline.bus.wait_for(messages.MicFrame, lambda f: f.captured_ns > went_on_ns)
        capture.send(signal.SIGSTOP)
        # Frames captured before uplink had connected to capture are not counted.
        first = numbers(connection)[0]
        health = pipeline.bus.health(
            "uplink",
            # Capture was stopped at any moment, so its last frame may have reached only one of its
            # readers.
            lambda h: abs(accounted(h) - (max(captured(pipeline)) - first + 1)) <= 1,
            since=pipeline.bus.now,
        )
        arrivals = connection.of("input_audio_buffer.append")
    frames, sent = captured(pipeline), numbers(connection)
    assert all(earlier < later for earlier, later in pairwise(sent))
    assert abs(health.counters["frames_sent"] - len(sent)) <= 1
    # Uplink sent only the newest of the frames that were captured while it was stopped.
    dropped = health.counters["frames_late"] + health.counters.get("frames_lost", 0)
    assert dropped * 20 > (stopped_ms - max_age_ms) / 2
    late_ms = [
        (arrival.at_ns - frames[number].captured_ns) / 1_000_000
        for arrival, number in zip(arrivals, sent, strict=False)
        if number in frames
    ]
    assert max(late_ms) < 2 * max_age_ms < stopped_ms
    assert uplink.end() == 0
    assert len(uplink.matching("microphone frames were too old to send")) == 1


def test_the_session_is_told_once_and_greeted_once(pipeline: Pipeline) -> None:
    def ends_once(connection: Connection) -> None:
        servers.begin(connection)
        connection.read(lambda event: event["type"] == "session.update")
        connection.send("session.updated", event_id="e2", session={})
        over.wait(PATIENCE_S)
        connection.reset()

    def said(connection: Connection) -> list[str]:
        kinds = [arrival.event["type"] for arrival in list(connection.events)]
        return [kind for kind in kinds if kind != "input_audio_buffer.append"]

    over = threading.Event()
    pipeline.settings["session.greeting"] = "Say hello."
    with Server([ends_once, servers.serve]) as server:
        pipeline.settings["link.url"] = server.url
        uplink = pipeline.all_up(*STAGES)["uplink"]
        first = server.wait()
        first.wait("session.update")
        over.set()
        # A new connection is a new session, which needs its settings and a greeting again.
        second = server.wait(2)
        second.wait("response.create")
        # Uplink sends the microphone only after downlink's history arrived, or after the wait for
        # the history timed out. No downlink runs here.
        kinds = [arrival.event["type"] for arrival in second.events]
        assert "input_audio_buffer.append" not in kinds[: kinds.index("response.create")]
        # An uplink that is restarted sends its settings again and does not greet again.
        uplink.end()
        pipeline.up("uplink")
        second.wait("session.update", 2)
        heard = len(second.of("input_audio_buffer.append"))
        second.wait("input_audio_buffer.append", heard + 2)
        begun = said(second)
    assert said(first)[:1] == ["session.update"]
    assert begun == ["session.update", "response.create", "session.update"]
    assert second.of("response.create")[0].event["response"]["instructions"] == "Say hello."


def test_nothing_is_heard_by_a_server_that_is_not_there(pipeline: Pipeline) -> None:
    pipeline.all_up("echo", "uplink", "capture")
    health = pipeline.bus.health("uplink", lambda h: h.counters.get("frames_unsent"))
    assert health.state == "waiting for link"
    assert "frames_sent" not in health.counters
