"""Files in the place of devices: what is read from them and written to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from shared.audio import files, pcm
from shared.audio.device import DeviceError

Samples = npt.NDArray[Any]

has_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full on this system"
)


def noise(count: int, seed: int = 1) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-20_000, 20_000, count, np.int16)


def tone(frequency: float, rate: int, seconds: float) -> npt.NDArray[np.float64]:
    moments = np.arange(round(rate * seconds)) / rate
    wave: npt.NDArray[np.float64] = 0.5 * np.sin(2 * np.pi * frequency * moments)
    return wave


def read_all(recording: files.FileSource, frames: int) -> npt.NDArray[np.int16]:
    return pcm.to_array(b"".join(recording.read(pcm.FRAME) for _ in range(frames)))


# --- reading ----------------------------------------------------------------------------------


def test_a_file_in_the_pipelines_format_is_heard_bit_for_bit(tmp_path: Path) -> None:
    samples = noise(1000)
    soundfile.write(tmp_path / "a.wav", samples, 24_000)
    recording = files.FileSource(str(tmp_path / "a.wav"))
    heard = read_all(recording, 5)
    recording.close()
    np.testing.assert_array_equal(heard[:1000], samples)
    assert not heard[1000:].any(), "then silence"
    assert len(heard) == 5 * pcm.FRAME


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 44_056])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channels_keep_length_pitch_and_place(
    tmp_path: Path, rate: int, channels: int
) -> None:
    wave = tone(1000, rate, 0.5)
    soundfile.write(tmp_path / "a.wav", np.tile(wave[:, None], channels), rate, subtype="PCM_16")
    recording = files.FileSource(str(tmp_path / "a.wav"))
    heard = read_all(recording, 50)
    recording.close()
    assert recording.rate == rate
    assert recording.channels == channels
    assert abs(np.flatnonzero(np.abs(heard) > 300)[-1] - 12_000) < 24
    expected = np.round(tone(1000, 24_000, 0.5) * 32768)
    middle = slice(1000, 11_000)
    assert np.abs(heard[middle] - expected[middle]).max() < 50, "no sample is early or late"


def test_channels_are_mixed(tmp_path: Path) -> None:
    left = np.full(480, 0.5)
    soundfile.write(tmp_path / "a.wav", np.stack((left, np.zeros(480)), axis=1), 24_000)
    recording = files.FileSource(str(tmp_path / "a.wav"))
    np.testing.assert_array_equal(pcm.to_array(recording.read(480)), 8192)
    recording.close()


@pytest.mark.parametrize(("channel", "value"), [(1, 16384), (2, 0), (3, 8192)])
def test_one_channel_by_number(tmp_path: Path, channel: int, value: int) -> None:
    columns = (np.full(480, 0.5), np.zeros(480), np.full(480, 0.25))
    soundfile.write(tmp_path / "a.wav", np.stack(columns, axis=1), 24_000)
    recording = files.FileSource(str(tmp_path / "a.wav"), channel)
    np.testing.assert_array_equal(pcm.to_array(recording.read(480)), value)
    recording.close()
    device = files.file_input(str(tmp_path / "a.wav"), channel)
    assert f", 24000 Hz, channel {channel} of 3, latency" in device.description
    device.stop()


def test_a_channel_that_the_file_lacks_is_reported(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((480, 2)), 24_000)
    with pytest.raises(DeviceError, match=r"capture\.channel = 3: file '.*a\.wav' has 2 channels"):
        files.FileSource(str(tmp_path / "a.wav"), 3)


@pytest.mark.parametrize(("sign", "opposite"), [(1, False), (-1, True)])
def test_a_file_with_two_channels_in_opposite_phase_says_so(
    tmp_path: Path, sign: int, opposite: bool
) -> None:
    said = noise(24_000)
    soundfile.write(tmp_path / "a.wav", np.stack((said, sign * said), axis=1), 24_000)
    recording = files.FileSource(str(tmp_path / "a.wav"))
    heard = read_all(recording, 50)
    recording.close()
    assert bool(heard.any()) is not opposite
    assert (recording.fault() is not None) is opposite


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "FLOAT"), ("a.wav", "PCM_24"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")],
)
def test_formats(tmp_path: Path, name: str, subtype: str) -> None:
    wave = tone(440, 24_000, 0.5)
    soundfile.write(tmp_path / name, wave, 24_000, subtype=subtype)
    recording = files.FileSource(str(tmp_path / name))
    heard = read_all(recording, 20)
    recording.close()
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * 24_000 / len(heard) == pytest.approx(440, abs=3)
    assert heard.max() == pytest.approx(16_384, rel=0.05)


def test_a_float_file_may_hold_nonsense(tmp_path: Path) -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 7.0, -7.0, 0.5] * 80 + [0.5] * 9600, np.float32)
    soundfile.write(tmp_path / "a.wav", wild, 24_000, subtype="FLOAT")
    recording = files.FileSource(str(tmp_path / "a.wav"))
    heard = pcm.to_array(recording.read(480))
    recording.close()
    assert heard[:6].tolist() == [0, 32767, -32768, 32767, -32768, 16384]
    soundfile.write(tmp_path / "b.wav", wild, 48_000, subtype="FLOAT")
    recording = files.FileSource(str(tmp_path / "b.wav"))
    heard = read_all(recording, 8)
    recording.close()
    assert set(heard[2000:3000]) <= {16383, 16384, 16385}, "a NaN does not stay in the resampler"


def test_an_empty_file_is_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 48_000)
    recording = files.FileSource(str(tmp_path / "a.wav"))
    assert not any(recording.read(480))
    recording.close()


def test_a_foreign_file_is_reported_in_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis.pdf"
    foreign.write_bytes(b"%PDF-1.4 this is no sound" * 100)
    with pytest.raises(DeviceError) as raised:
        files.file_input(str(foreign))
    assert str(raised.value) == (
        f"cannot read '{foreign}' as sound: format not recognised;"
        " give a WAV, FLAC, OGG or MP3 file"
    )


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "headerless.raw").write_bytes(bytes(100))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "cut.wav").write_bytes(b"RIFF\x00\x01\x00\x00WAVEfmt ")
    for name, said in (
        ("missing.wav", "no such file or directory"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
        ("headerless.raw", "as sound"),
        ("empty.wav", "as sound: "),
        ("cut.wav", "as sound: "),
    ):
        with pytest.raises(DeviceError, match=said) as raised:
            files.file_input(str(tmp_path / name))
        assert "\n" not in str(raised.value)
        assert str(tmp_path / name).rstrip("/") in str(raised.value)


# --- writing ----------------------------------------------------------------------------------


def test_the_written_file_is_a_wav_file_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sink = files.WavFile(str(path))
    assert soundfile.info(path).frames == 0, "from the start"
    samples = noise(60_000)
    for block in np.split(samples, 250):
        sink.write(pcm.from_array(block))
    # 2.5 s are written and nothing is closed, as after a kill -9.
    seen, rate = soundfile.read(path, dtype="int16")
    assert rate == 24_000
    assert 2.5 * 24_000 >= len(seen) >= 1.5 * 24_000
    np.testing.assert_array_equal(seen, samples[: len(seen)])
    sink.skip(481)
    sink.close()
    sink.close()
    seen, _ = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(seen[:60_000], samples)
    assert seen[60_000:].tolist() == [0] * 481
    assert sink.warning() is None


def test_an_odd_tail_is_written_too(tmp_path: Path) -> None:
    sink = files.WavFile(str(tmp_path / "a.wav"))
    sink.write(pcm.from_array(noise(7)))
    sink.close()
    assert soundfile.info(tmp_path / "a.wav").frames == 7


@has_full_disk
def test_a_full_disk_is_reported_once_and_the_sound_goes_on() -> None:
    sink = files.WavFile("/dev/full")
    for _ in range(30):
        sink.write(bytes(480))
    warning = sink.warning()
    assert warning == (
        "cannot write '/dev/full' any further than 0.0 s: no space left on device;"
        " the sound goes on without it"
    )
    sink.write(bytes(9600))
    assert sink.warning() is None, "once"
    sink.close()


def test_a_disk_that_fills_up_keeps_what_was_written(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a disk that is full after 60 000 bytes.
    path = tmp_path / "a.wav"
    code = f"""
import resource, signal
from shared.audio import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sink = files.WavFile({str(path)!r})
for _ in range(400):
    sink.write(b"ab" * 240)
print(sink.warning())
sink.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert "any further than 1.2 s: file too large; the sound goes on without it" in done.stdout
    info = soundfile.info(path)
    assert info.frames == (60_000 - 44) // 2


def test_a_file_that_would_grow_too_long_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST", 10_000)
    sink = files.WavFile(str(tmp_path / "a.wav"))
    for _ in range(50):
        sink.write(bytes(480))
    assert "a WAV file can be no longer" in (sink.warning() or "")
    sink.close()
    assert soundfile.info(tmp_path / "a.wav").frames == 4800, "what was written before is kept"


def test_only_a_recording_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for _ in range(2):
        sink = files.WavFile(str(path))
        sink.write(bytes(480))
        sink.close()
    assert soundfile.info(path).frames == 240
    thesis = tmp_path / "thesis.pdf"
    thesis.write_bytes(b"%PDF-1.4")
    with pytest.raises(DeviceError, match="it exists and is not a WAV file, and is not replaced"):
        files.file_output(str(thesis))
    assert thesis.read_bytes() == b"%PDF-1.4"


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("nowhere/a.wav", "no such file or directory"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
    ):
        with pytest.raises(DeviceError, match=said):
            files.file_output(str(tmp_path / name))
