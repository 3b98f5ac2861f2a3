"""``bin/demo``: a conversation that ends by itself, its table, and its recording.

The demo runs in a copy of the tree whose ``.env`` has a key and an address that it must not use.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness import recordings
from shared import messages, registry
from shared.audio import pcm
from tests.support.demonstration import DEMO_S, Demonstration
from tests.support.pipeline import PATIENCE_S, Pipeline

pytestmark = pytest.mark.process

STAGES = registry.PROCESSES


@pytest.fixture(scope="module")
def over(demonstration: Demonstration) -> Demonstration:
    """Wait for the end of the demo."""
    assert demonstration.child.wait(DEMO_S + PATIENCE_S) == 0, demonstration.child.output
    return demonstration


@pytest.fixture(scope="module")
def both(over: Demonstration) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return the recording, an array of samples by channels."""
    samples, rate = soundfile.read(over.out / "conversation.wav", dtype="int16")
    assert rate == pcm.RATE
    assert samples.shape[1] == 2
    return np.asarray(samples, np.int16)


def test_every_stage_ended_with_zero(over: Demonstration) -> None:
    log = over.log.read_text("utf-8")
    told = re.findall(r"(\w+)\.1 stopped \(rc=(-?\d+)\)", log)
    assert dict(told) == dict.fromkeys((*STAGES, "emulator"), "0")
    # link may start before the emulator, and end after it
    for line in log.splitlines():
        assert "trying again" in line or not re.search(r"\d\.\d{3} [WE] ", line)


def test_the_conversation_is_shown_and_not_the_log(over: Demonstration) -> None:
    shown = [
        over.child.matching(pattern)
        for pattern in (
            f"^demo: the log: {re.escape(str(over.log))}$",
            r"^Speak: I'm listening\. Ctrl-C ends\.$",
            r"^assistant: Hello",
            r"^you: \[\d\.\d s of speech\]$",
            r"^assistant: A lighthouse",
            r"^assistant: .* …$",
            r"^  \(stopped in \d+ ms, heard \d+\.\d of \d+\.\d s\)$",
        )
    ]
    assert [bool(lines) for lines in shown] == [True] * len(shown), over.child.output
    places = [over.child.lines.index(lines[0]) for lines in shown]
    assert places == sorted(places)
    assert over.child.matching(r"^!|listens for|Traceback") == []


def test_a_dot_env_is_for_the_real_thing(over: Demonstration) -> None:
    for stage in STAGES:
        environment = over.environments[stage]
        assert "OPENAI_API_KEY" not in environment
        assert re.search(r"BARGEIN_LINK__URL=ws://127\.0\.0\.1:\d+/", environment)


def test_the_table_shows_the_interruption(over: Demonstration) -> None:
    [interruption] = json.loads((over.out / "conversation.json").read_bytes())["interruptions"]
    [report] = interruption["reports"]
    at_s = interruption["at_ms"] / 1000
    silent_ms = (
        interruption["silent_ns"] + interruption["latency_ns"] - interruption["event_ns"]
    ) / 1e6
    row = (
        f"0:{at_s:06.3f} {silent_ms:.1f} ms {report['heard_ms'] / 1000:.2f} s of"
        f" {report['received_ms'] / 1000:.2f} s (truncate at {report['audio_end_ms']} ms)"
    )
    lines = [" ".join(line.split()) for line in over.child.lines]
    assert row in lines
    assert "when event to silence heard" in lines
    assert f"what was heard: {over.out}/conversation.wav" in lines
    assert f"the whole conversation on one page: {over.out}/report.html" in lines
    page = (over.out / "report.html").read_text("utf-8")
    assert f"silent after <b>{silent_ms:.1f} ms</b>" in page
    assert "data:audio/ogg;base64," in page


def test_the_recording_lasts_as_long_as_it_was_told_to(
    both: np.ndarray[Any, np.dtype[np.int16]],
) -> None:
    assert len(both) / pcm.RATE == pytest.approx(DEMO_S, abs=1.5)


def test_the_person_is_left_and_unbroken(both: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    left = both[:, 0].tobytes()
    asked = recordings.place(recordings.spoken(recordings.QUESTION).tobytes(), left)
    waited = recordings.place(recordings.spoken(recordings.WAIT)[: pcm.RATE].tobytes(), left)
    said = [u["start_ms"] for u in recordings.INDEX["person"]["utterances"]]
    apart = pcm.ms_to_samples(said[recordings.WAIT] - said[recordings.QUESTION])
    assert waited - asked == apart


def test_the_assistant_is_right_and_falls_silent_when_talked_over(
    both: np.ndarray[Any, np.dtype[np.int16]], over: Demonstration
) -> None:
    left, right = both[:, 0].tobytes(), both[:, 1]
    over_it = recordings.place(recordings.spoken(recordings.WAIT)[: pcm.RATE].tobytes(), left)
    before = right[over_it - pcm.RATE : over_it]
    assert pcm.dbfs(before.tobytes()) > -40
    # the server needs a moment to hear the person
    silent = over_it + int(np.flatnonzero(right[over_it : over_it + pcm.RATE])[-1])
    assert silent - over_it < pcm.RATE // 2
    assert not right[silent + 1 : silent + pcm.RATE].any()
    # the event's time in the table fits the recording: a little before the silence
    [interruption] = json.loads((over.out / "conversation.json").read_bytes())["interruptions"]
    event = pcm.ms_to_samples(interruption["at_ms"])
    assert over_it < event < silent + pcm.RATE // 10


def test_ctrl_c_ends_it_with_what_there_is(pipeline: Pipeline, tmp_path: Path) -> None:
    settings = {"capture.device": "null", "playback.device": "null"}
    child = pipeline.python(
        *("commands.demo", "--out", str(tmp_path / "out")), env=pipeline.environment(settings)
    )
    pipeline.bus.wait_for(messages.MicFrame)
    pipeline.bus.health("recorder")
    # a terminal sends SIGINT to demo and honcho, but not to the stages: honcho gives each a group
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait() == 0
    assert child.matching("^no interruptions$")
    assert child.matching(f"^what was heard: {tmp_path}/out/conversation.wav$")
    assert soundfile.info(tmp_path / "out" / "conversation.wav").channels == 2
    assert child.matching("Traceback") == []


def test_a_directory_that_cannot_be_written_to_is_reported_at_once(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    child = pipeline.python("commands.demo", "--out", str(tmp_path / "file" / "out"))
    assert child.wait() == 1
    [line] = child.lines
    assert f"--out {tmp_path}/file/out: Not a directory: choose another directory" in line
