"""A change of [session] reaches the running session, and no word is lost meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from harness import recordings
from shared import messages
from shared.audio import pcm
from shared.running import holder
from tests.support.pipeline import UNHELD, Keeper, Pipeline, settled

pytestmark = pytest.mark.process

CHANGED = """\
[session]
speed = 1.25
language = "de"
max_output_tokens = 400
answer_after = "transcript"
"""


def test_the_running_session_follows(kept: Keeper, tmp_path: Path) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = pipeline.emulator("--reply", "tone:0.2")
        pipeline.settings |= {
            "capture.device": recordings.numbered(tmp_path / "numbers.wav", 3000),
            "echo.enabled": False,
            "session.turn_detection.type": "none",
        }
        stages = pipeline.all_up("echo", "uplink", "downlink")
        stages |= pipeline.all_up("link")
        session = pipeline.meet()
        stages |= pipeline.all_up("capture")
        emulator.wait_line("is updated: audio, instructions, output_modalities")

        # A wrong setting is reported by the command, and nothing changes.
        pipeline.config.write_text("[session]\nspeed = 9\n")
        wrong = pipeline.python("commands.reload", *pipeline.options({}))
        wrong.codes = {2}
        assert wrong.wait() == 2
        assert "(accepted: 0.25 to 1.5)" in wrong.output

        since = pipeline.bus.now
        pipeline.config.write_text(CHANGED)
        assert pipeline.python("commands.reload", *pipeline.options({})).wait() == 0
        line = stages["uplink"].wait_line(r"changed in \[session\]: language, .*speed")
        assert "after bargein restart: answer_after" in line
        for field in ("instructions", "audio", "max_output_tokens"):
            emulator.wait_line(f"is updated: {field}$")
        told = pipeline.bus.wait_for(
            messages.ServerEvent, lambda e: b'"max_output_tokens":400' in e.payload, since=since
        )
        # downlink compares the session with the new settings: all is as it was asked for.
        pipeline.bus.health("downlink", lambda h: h.ok, since=pipeline.bus.now)
        pipeline.bus.health("downlink", lambda h: h.ok, since=pipeline.bus.now)
        assert not stages["downlink"].matching("the server's|refuses")
        events = [json.loads(event.payload) for event in pipeline.bus.all(messages.ClientEvent)]
        states = pipeline.bus.all(messages.LinkState, since=since)
    after = json.loads(told.message.payload)["session"]
    assert after["audio"]["output"]["speed"] == 1.25
    assert "'de'" in after["instructions"]
    # The session is the same one, and it got the microphone without a gap.
    assert {(state.state, state.session) for state in states} <= {("open", session)}
    sent = [
        number
        for event in events
        if event["type"] == "input_audio_buffer.append"
        for number in recordings.appended(event)[:: pcm.FRAME]
    ]
    assert len(sent) > 50
    assert all(later == sooner + 1 for sooner, later in pairwise(sent))
    updates = [event for event in events if event["type"] == "session.update"]
    paths = {event["event_id"] for event in updates if "update_all" not in event["event_id"]}
    assert paths == {"update_instructions", "update_audio.output.speed", "update_max_output_tokens"}


def test_a_stage_without_a_terminal_follows_sighup(kept: Keeper) -> None:
    """As under ``bin/start``, where each stage has a session of its own."""
    with Pipeline(kept) as pipeline:
        uplink = pipeline.stage("uplink")
        uplink.wait_line("listens for")
        pipeline.config.write_text("[session]\nspeed = 1.25\n")
        uplink.send(signal.SIGHUP)
        uplink.wait_line(r"changed in \[session\]: speed$")


def test_a_stage_without_a_terminal_or_a_parent_follows_sighup(
    kept: Keeper, tmp_path: Path
) -> None:
    """As ``systemctl reload`` sends it: the units of systemd/ say so."""
    with Pipeline(kept) as pipeline:
        log = tmp_path / "uplink.log"
        argv = [sys.executable, "-u", "-m", "services.uplink", *pipeline.options({})]
        # The shell ends first, so that init is the parent of the stage from its beginning.
        orphan = f"(sleep 0.2; exec {shlex.join(argv)} >{shlex.quote(str(log))} 2>&1) &"
        assert pipeline.run("setsid", "sh", "-c", orphan).wait() == 0
        assert settled(lambda: log.exists() and "listens for" in log.read_text())
        pid = holder(pipeline.bus_directory, "uplink")
        if psutil.Process(pid).ppid() != 1:
            os.kill(pid, signal.SIGTERM)
            pytest.skip("another process adopts orphans here")
        pipeline.config.write_text("[session]\nspeed = 1.25\n")
        os.kill(pid, signal.SIGHUP)
        assert settled(lambda: "changed in [session]: speed" in log.read_text())
        os.kill(pid, signal.SIGTERM)
        assert settled(lambda: not holder(pipeline.bus_directory, "uplink"))
