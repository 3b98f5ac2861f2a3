"""The harness's sound server: its recordings contain what a test or PortAudio plays."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.ears import SoundServerError
from harness.pulse import SoundServer
from harness.waves import RATE, Samples, loudest_frequency, spans, tone

PLAY_BY_PORTAUDIO = """
import sys, pyaudio
audio = pyaudio.PyAudio()
stream = audio.open(rate=24000, channels=1, format=pyaudio.paInt16, output=True)
stream.write(sys.stdin.buffer.read())
stream.stop_stream()
stream.close()
audio.terminate()
"""

RECORD_BY_PORTAUDIO = """
import sys, pyaudio
audio = pyaudio.PyAudio()
stream = audio.open(rate=24000, channels=1, format=pyaudio.paInt16, input=True)
while True:
    sys.stdout.buffer.write(stream.read(480))
    sys.stdout.buffer.flush()
"""


def only_sound(heard: Samples) -> Samples:
    """Return the only sound of a recording, without the silence around it."""
    ((first, last),) = spans(heard)
    return heard[first:last]


def test_an_ear_hears_a_tone_on_the_speaker(sound_server: SoundServer) -> None:
    with sound_server.record() as ear:
        sound_server.play(tone(440, 0.5), sink="speaker").wait()
        end = ear.wait_for_silence(0.2, after=ear.wait_for_sound())
    heard = only_sound(ear.audio)
    assert ear.time_of(end) < time.monotonic()
    assert len(heard) == pytest.approx(0.5 * RATE, rel=0.02)
    assert loudest_frequency(heard) == pytest.approx(440, abs=5)
    # The rate and the format are the same and the volume is full, so the samples are unchanged.
    assert np.abs(heard).max() == pytest.approx(0.25 * 32767, rel=0.01)


def test_a_mouth_reaches_the_mic(sound_server: SoundServer, tmp_path: Path) -> None:
    speech = tmp_path / "speech.wav"
    soundfile.write(speech, tone(600, 0.5, 48_000), 48_000)
    with sound_server.record("mic") as mic, sound_server.record("speaker") as speaker:
        sound_server.play(speech).wait()
        mic.wait_for_silence(0.2, after=mic.wait_for_sound())
    assert loudest_frequency(only_sound(mic.audio)) == pytest.approx(600, abs=5)
    assert spans(speaker.audio) == [], "a sound in the microphone is not heard on the speaker"


def test_a_mouth_can_be_stopped(sound_server: SoundServer) -> None:
    with sound_server.record("mic") as mic:
        mouth = sound_server.play(tone(600, 30))
        begin = mic.wait_for_sound()
        assert mouth.speaking
        mouth.stop()
        assert mic.wait_for_silence(0.2, after=begin) - begin < 10 * RATE
    assert not mouth.speaking


def test_portaudio_plays_on_the_speaker(sound_server: SoundServer) -> None:
    with sound_server.record() as ear:
        subprocess.run(
            [sys.executable, "-c", PLAY_BY_PORTAUDIO],
            # PortAudio on ALSA loses the last 10 ms before a stop, so end with silence.
            input=np.concatenate((tone(880, 0.5), np.zeros(RATE // 10, np.int16))).tobytes(),
            env=sound_server.env,
            check=True,
            timeout=30,
        )
        ear.wait_for_silence(0.2, after=ear.wait_for_sound())
    heard = only_sound(ear.audio)
    assert loudest_frequency(heard) == pytest.approx(880, abs=5)
    # On a busy machine the device may leave gaps, so add up the parts between the gaps.
    sounding = sum(end - first for first, end in spans(ear.audio, gap_ms=1))
    assert sounding == pytest.approx(0.5 * RATE, rel=0.02)


def test_portaudio_records_the_mic(sound_server: SoundServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RECORD_BY_PORTAUDIO],
        env=sound_server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as recorder:
        assert recorder.stdout is not None
        recorder.stdout.read(960)  # wait until it records
        sound_server.play(tone(700, 0.5)).wait()
        heard = np.frombuffer(recorder.stdout.read(2 * RATE), np.int16)
        recorder.kill()
    ((first, last),) = spans(heard)
    assert loudest_frequency(heard[first:last]) == pytest.approx(700, abs=5)


def test_an_ear_tells_the_time(sound_server: SoundServer) -> None:
    with sound_server.record() as ear:
        before = time.monotonic()
        sound_server.play(tone(440, 0.3), sink="speaker")
        first = ear.wait_for_sound()
        assert before < ear.time_of(first) < time.monotonic()
        assert ear.sample_at(ear.time_of(first)) == first


def test_two_ears_share_a_clock(sound_server: SoundServer) -> None:
    room = sound_server.pactl(
        *("load-module", "module-loopback", "source=speaker.monitor", "sink=mic", "latency_msec=50")
    )
    with sound_server.record("speaker") as speaker, sound_server.record("mic") as mic:
        sound_server.play(tone(440, 0.3), sink="speaker").wait()
        echo = mic.time_of(mic.wait_for_sound())
        assert speaker.time_of(speaker.wait_for_sound()) < echo, "the echo follows the sound"
    sound_server.pactl("unload-module", room)


def test_an_ear_that_hears_nothing_raises_an_error_that_says_so(sound_server: SoundServer) -> None:
    with (
        sound_server.record() as ear,
        pytest.raises(SoundServerError, match=r"a sound; recorded 0\.\d+ s, peak 0"),
    ):
        ear.wait_for_sound(timeout=0.3)


def test_a_restart_ends_recordings_and_brings_the_devices_back(sound_server: SoundServer) -> None:
    with sound_server.record() as ear:
        sound_server.restart()
        with pytest.raises(SoundServerError, match="ended before a sound was heard"):
            ear.wait_for_sound()
    with sound_server.record() as ear:
        sound_server.play(tone(440, 0.2), sink="speaker")
        ear.wait_for_sound()


def test_a_daemon_that_does_not_start_shows_its_log(sound_server: SoundServer) -> None:
    with pytest.raises(SoundServerError, match=r"PulseAudio ended as it started:\n.*sample rate"):
        SoundServer(rate=-1).__enter__()


@pytest.mark.parametrize(("ci", "status", "outcome"), [("", 0, "SKIPPED"), ("true", 1, "ERROR")])
def test_without_a_sound_server_the_ring_is_skipped_but_not_in_ci(
    tmp_path: Path, ci: str, status: int, outcome: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{__file__}::test_a_mouth_can_be_stopped"],
        env={"PATH": str(tmp_path), "CI": ci},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stdout
    assert f"{outcome} tests/sound/test_harness.py::test_a_mouth_can_be_stopped" in done.stdout
    assert "no sound server: pulseaudio, pactl, pacat, parec not found" in done.stdout


def test_nothing_outlives_a_killed_test_run(sound_server: SoundServer) -> None:
    code = (
        "import sys, time; from harness.pulse import SoundServer\n"
        "server = SoundServer(); server.start()\n"
        "print(server._daemon.pid, server.directory, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().decode().split()
        daemon = os.pidfd_open(int(pid))
        run.kill()
    # A pidfd becomes readable when its process has ended.
    ended, _, _ = select.select([daemon], [], [], 5)
    os.close(daemon)
    shutil.rmtree(directory)
    assert ended
