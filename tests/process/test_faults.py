"""Bad input gets one clear line, and the rest goes on."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness import recordings
from shared import messages
from shared.audio import pcm
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.process

#: The marks of warnings and errors in the stages' log.
COMPLAINT = r"^\d\d:\d\d:\d\d\.\d{3} [WE] "


# the bus directory


def open_to_others(path: Path) -> None:
    """Make a directory that other users can read."""
    path.mkdir()
    path.chmod(0o755)


def elsewhere(path: Path) -> None:
    """Make a link to a directory."""
    target = path.with_name("target")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (open_to_others, "open to other users (mode 0755): run 'chmod 700 "),
        (Path.touch, "not a directory"),
        (elsewhere, "not a directory: remove it or set bus.directory"),
    ],
    ids=["open to others", "a file", "a link"],
)
def test_a_bus_directory_that_is_no_good_is_refused(
    pipeline: Pipeline, make: Callable[[Path], None], told: str
) -> None:
    directory = pipeline.directory / "other"
    make(directory)
    child = pipeline.stage("capture", settings={"bus.directory": directory})
    assert child.wait() == 1
    [line] = child.lines
    assert str(directory) in line
    assert told in line


def test_a_bus_directory_whose_name_is_too_long_is_refused(pipeline: Pipeline) -> None:
    child = pipeline.stage("capture", settings={"bus.directory": pipeline.directory / ("x" * 80)})
    assert child.wait() == 1
    [line] = child.lines
    assert "too long for a socket" in line


# the devices


def text_file(path: Path) -> None:
    """Write a file that is not a sound file."""
    path.write_text("What is heard here is not much.\n" * 40)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no such file"),
        (text_file, "as sound"),
        (Path.touch, "as sound"),
        (Path.mkdir, "not a regular file"),
    ],
    ids=["nothing", "a text", "empty", "a directory"],
)
def test_a_device_that_is_no_microphone_is_reported(
    pipeline: Pipeline, make: Callable[[Path], None], told: str
) -> None:
    path = pipeline.directory / "microphone"
    make(path)
    child = pipeline.up("capture", {"capture.device": f"file:{path}"})
    health = pipeline.bus.health("capture")
    assert not health.ok
    assert health.state.startswith("no microphone: ")
    assert child.end() == 0
    [line] = child.matching(COMPLAINT)
    assert f"cannot read '{path}'" in line
    assert told in line
    assert "trying again" in line


def test_a_microphone_that_comes_back_is_heard(pipeline: Pipeline) -> None:
    path = pipeline.directory / "microphone.wav"
    child = pipeline.up("capture", {"capture.device": f"file:{path}"})
    child.wait_line("no such file")
    recordings.numbered(path, 100)
    pipeline.bus.wait_for(messages.MicFrame, lambda f: f.payload[:2] == b"\x05\x00")
    assert pipeline.bus.health("capture", since=pipeline.bus.now).ok


def test_channels_that_cancel_each_other_are_reported_and_one_of_them_is_heard(
    pipeline: Pipeline,
) -> None:
    path = pipeline.directory / "balanced.wav"
    left = np.random.default_rng(1).integers(-9000, 9000, 20 * pcm.RATE).astype(np.int16)
    soundfile.write(path, np.stack((left, -left), axis=1), pcm.RATE)
    settings = {"capture.device": f"file:{path}"}
    mixed = pipeline.up("capture", settings)
    health = pipeline.bus.health("capture", lambda h: not h.ok)
    assert health.state.startswith("two channels in opposite phase, ")
    assert mixed.end() == 0
    [line] = mixed.matching(COMPLAINT)
    assert "set capture.channel = 1" in line
    since = pipeline.bus.now
    third = pipeline.up("capture", settings | {"capture.channel": 3})
    third.wait_line("capture.channel = 3: file .* has 2 channels, 1 to 2; 0 is the mix; trying")
    assert not pipeline.bus.health("capture", since=since).ok
    assert third.end() == 0
    pipeline.up("capture", settings | {"capture.channel": 2})

    def is_second(frame: messages.MicFrame) -> bool:
        return frame.payload == (-left[frame.position :][: pcm.FRAME]).tobytes()

    # The listener may connect to the new process after its first frames.
    pipeline.bus.wait_for(messages.MicFrame, is_second)


@pytest.mark.parametrize(
    ("stage", "device", "told"),
    [
        ("capture", "portaudio:no such thing", "no such thing|PortAudio finds no input devices"),
        ("playback", "portaudio:no such thing", "no such thing|PortAudio finds no output devices"),
        ("playback", "file:/nowhere/at/all.wav", "cannot write '/nowhere/at/all.wav'"),
    ],
)
def test_a_device_that_is_not_there_is_reported(
    pipeline: Pipeline, stage: str, device: str, told: str
) -> None:
    child = pipeline.up(stage, {f"{stage}.device": device})
    assert not pipeline.bus.health(stage).ok
    # PortAudio looks for the devices after the loop has begun.
    line = child.wait_line(COMPLAINT)
    assert child.end() == 0
    assert child.matching(COMPLAINT) == child.matching(told) == [line]


def test_a_file_that_is_no_recording_is_not_overwritten(pipeline: Pipeline) -> None:
    path = pipeline.directory / "diary.txt"
    text_file(path)
    before = path.read_bytes()
    child = pipeline.up("playback", {"playback.device": f"file:{path}"})
    assert child.end() == 0
    [line] = child.matching(COMPLAINT)
    assert "is not a WAV file, and is not replaced" in line
    assert path.read_bytes() == before


# a disk that is full


def limited(pipeline: Pipeline, stage: str, settings: dict[str, object]) -> str:
    """Return a command that runs a stage whose files are limited to 32 kB, like a full disk."""
    command = [sys.executable, "-u", "-m", f"services.{stage}", *pipeline.options(settings)]
    return f"ulimit -f 64; exec {shlex.join(command)}"


def test_a_speaker_whose_disk_is_full_plays_on(pipeline: Pipeline) -> None:
    path = pipeline.directory / "speaker.wav"
    command = limited(pipeline, "playback", {"playback.device": f"file:{path}"})
    child = pipeline.run("/bin/sh", "-c", command)
    line = child.wait_line(COMPLAINT)
    assert f"speaker: cannot write '{path}' any further" in line
    now = pipeline.bus.now
    pipeline.bus.wait_for(messages.SpeakerFrame, since=now)
    pipeline.bus.health("playback", lambda h: h.ok, since=now)
    assert child.end() == 0
    assert child.matching(COMPLAINT) == [line]
    written = soundfile.info(path)
    assert (written.samplerate, written.channels) == (pcm.RATE, 1)
    assert 0 < written.frames <= 64 * 512 / pcm.SAMPLE_BYTES


def test_a_recorder_whose_disk_is_full_says_so_and_lives_on(pipeline: Pipeline) -> None:
    settings: dict[str, object] = {"recorder.directory": pipeline.directory}
    child = pipeline.run("/bin/sh", "-c", limited(pipeline, "recorder", settings))
    pipeline.ready("recorder", child)
    pipeline.all_up("capture", "playback")
    line = child.wait_line(COMPLAINT)
    assert f"cannot write to {pipeline.directory}" in line
    assert "the conversation goes on" in line
    health = pipeline.bus.health("recorder", lambda h: not h.ok)
    assert health.counters["unwritable"] == 1
    assert child.end() == 0
    assert child.matching(COMPLAINT) == [line]
    # The part that fitted on the disk is playable, and the record exists.
    assert soundfile.info(pipeline.directory / "conversation.wav").frames > 0
    assert "interruptions" in json.loads((pipeline.directory / "conversation.json").read_bytes())


def test_a_directory_that_cannot_be_recorded_to_is_refused(pipeline: Pipeline) -> None:
    (pipeline.directory / "file").touch()
    directory = pipeline.directory / "file" / "out"
    child = pipeline.stage("recorder", settings={"recorder.directory": directory})
    assert child.wait() == 1
    [line] = child.lines
    assert f"cannot write {directory}/conversation.wav" in line
    assert "choose another directory" in line


# the command line, and the port


def test_a_configuration_that_is_not_there_is_refused(pipeline: Pipeline) -> None:
    child = pipeline.python("services.uplink", "--config", "/nowhere/config.toml")
    assert child.wait() == 2
    [line] = child.lines
    assert "/nowhere/config.toml: No such file" in line


def test_a_port_that_is_taken_is_reported(pipeline: Pipeline) -> None:
    first = pipeline.emulator()
    second = pipeline.python("services.emulator", "--url", str(pipeline.settings["link.url"]))
    assert second.wait() == 1
    [line] = second.lines
    assert "cannot listen at 127.0.0.1:" in line
    assert "choose another port" in line
    assert first.running
