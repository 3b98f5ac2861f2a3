"""The recording of the bus by a real recorder, which is killed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from shared import messages, recording
from shared.recording import Recording
from tests.support import servers
from tests.support.pipeline import Pipeline
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process

KEY = "sk-test-MARKER-of-the-key"


def echo_the_key(connection: Connection) -> None:
    """Begin a session, and tell the client its own key, as plain text and with an escape.

    Again and again: the recorder observes, so it gets nothing of what came before it was connected.
    """
    servers.begin(connection)
    while True:
        connection.send("error", error={"message": f"Incorrect API key: {KEY}"})
        odd = b'{"type": "odd", "key": "\\u0073' + KEY[1:].encode() + b'"}'
        connection.frame(servers.TEXT, odd)
        time.sleep(0.1)  # often enough: the recorder writes for longer


def test_a_recorder_that_is_killed_leaves_a_whole_file_without_the_key(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    wanted = {"recorder.bus": "true", "recorder.directory": tmp_path, "capture.device": "null"}
    pipeline.settings.update(wanted)
    recorder = pipeline.stage("recorder")
    recorder.wait_line("listens for")
    with Server(echo_the_key) as server:
        pipeline.settings["link.url"] = server.url
        pipeline.stage("link", env={"OPENAI_API_KEY": KEY})
        pipeline.stage("capture")
        pipeline.bus.wait_for(messages.ServerEvent, lambda event: b'"odd"' in event.payload)
        begun = pipeline.bus.wait_for(messages.MicFrame).stamp.t
        pipeline.bus.wait_for(messages.MicFrame, lambda f: f.captured_ns > begun + 2_000_000_000)
        killed_ns = time.monotonic_ns()
        recorder.send(signal.SIGKILL)
        recorder.wait()
    [path] = tmp_path.glob("*.mcap")
    about = Recording()
    found = list(recording.read(path, about))
    assert not about.complete
    assert killed_ns - found[-1].stamp.t < 1_000_000_000
    frames = [each.stamp.seq for each in found if isinstance(each.message, messages.MicFrame)]
    assert frames == list(range(frames[0], frames[-1] + 1))
    assert len(frames) > 50
    events = [e.message.payload for e in found if isinstance(e.message, messages.ServerEvent)]
    assert len(events) > 2
    assert sum(b"****" in event for event in events) >= len(events) - 1
    assert "MARKER" not in "".join(map(str, found))

    again = pipeline.stage("recorder")
    again.wait_line("had no end, and has one now")
    about = Recording()
    assert list(recording.read(path, about)) == found
    assert about.complete
