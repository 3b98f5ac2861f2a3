"""Devices without a sound card: what they read and write, and how they keep time."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from shared.audio import files, pcm
from shared.audio.device import DeviceError

Samples = npt.NDArray[Any]

has_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full on this system"
)

SOON = 5.0  # s: a machine that is busy may take its time, a test that works never does


def noise(count: int, seed: int = 1) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-20_000, 20_000, count, np.int16)


def tone(frequency: float, rate: int, seconds: float) -> npt.NDArray[np.float64]:
    moments = np.arange(round(rate * seconds)) / rate
    wave: npt.NDArray[np.float64] = 0.5 * np.sin(2 * np.pi * frequency * moments)
    return wave


def read_all(recording: files.Recording, frames: int) -> npt.NDArray[np.int16]:
    return pcm.to_array(b"".join(recording.read(pcm.FRAME) for _ in range(frames)))


# --- the schedule -----------------------------------------------------------------------------


@given(st.integers(0, 10**9), st.sampled_from([240, 480, 7]), st.integers(0, 10**15))
def test_the_schedule_never_drifts(block: int, samples: int, start: int) -> None:
    schedule = files.Schedule(start, samples)
    assert schedule.at(block) == start + block * samples * 1_000_000_000 // 24_000


def test_a_short_stall_is_made_up_for_and_a_long_one_given_up() -> None:
    schedule = files.Schedule(1_000, 480)
    at = schedule.at(50)
    assert schedule.given_up(50, at) == 0
    assert schedule.given_up(50, at - 5_000_000) == 0
    assert schedule.given_up(50, at + 1_000_000_000) == 0
    assert schedule.given_up(50, at + 1_000_000_001) == 50
    assert schedule.given_up(50, at + 3_015_000_000) == 150
    # What is left to do then is less than a block late.
    assert 0 <= at + 3_015_000_000 - schedule.at(50 + 150) < 20_000_000


# --- what is heard of a file ------------------------------------------------------------------


def test_a_file_in_the_pipelines_format_is_heard_bit_for_bit(tmp_path: Path) -> None:
    samples = noise(1000)
    soundfile.write(tmp_path / "a.wav", samples, 24_000)
    recording = files.Recording(str(tmp_path / "a.wav"))
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
    recording = files.Recording(str(tmp_path / "a.wav"))
    heard = read_all(recording, 50)
    recording.close()
    assert recording.rate == rate
    assert recording.channels == channels
    assert abs(np.flatnonzero(np.abs(heard) > 300)[-1] - 12_000) < 24
    expected = np.round(tone(1000, 24_000, 0.5) * 32768)
    middle = slice(1000, 11_000)
    assert np.abs(heard[middle] - expected[middle]).max() < 50, "not a sample too early or late"


def test_channels_are_mixed(tmp_path: Path) -> None:
    left = np.full(480, 0.5)
    soundfile.write(tmp_path / "a.wav", np.stack((left, np.zeros(480)), axis=1), 24_000)
    recording = files.Recording(str(tmp_path / "a.wav"))
    np.testing.assert_array_equal(pcm.to_array(recording.read(480)), 8192)
    recording.close()


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "FLOAT"), ("a.wav", "PCM_24"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")],
)
def test_formats(tmp_path: Path, name: str, subtype: str) -> None:
    wave = tone(440, 24_000, 0.5)
    soundfile.write(tmp_path / name, wave, 24_000, subtype=subtype)
    recording = files.Recording(str(tmp_path / name))
    heard = read_all(recording, 20)
    recording.close()
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * 24_000 / len(heard) == pytest.approx(440, abs=3)
    assert heard.max() == pytest.approx(16_384, rel=0.05)


def test_a_float_file_may_hold_nonsense(tmp_path: Path) -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 7.0, -7.0, 0.5] * 80 + [0.5] * 9600, np.float32)
    soundfile.write(tmp_path / "a.wav", wild, 24_000, subtype="FLOAT")
    recording = files.Recording(str(tmp_path / "a.wav"))
    heard = pcm.to_array(recording.read(480))
    recording.close()
    assert heard[:6].tolist() == [0, 32767, -32768, 32767, -32768, 16384]
    soundfile.write(tmp_path / "b.wav", wild, 48_000, subtype="FLOAT")
    recording = files.Recording(str(tmp_path / "b.wav"))
    heard = read_all(recording, 8)
    recording.close()
    assert set(heard[2000:3000]) <= {16383, 16384, 16385}, "it does not stay in the resampler"


def test_an_empty_file_is_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 48_000)
    recording = files.Recording(str(tmp_path / "a.wav"))
    assert not any(recording.read(480))
    recording.close()


def test_a_foreign_file_is_told_in_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis.pdf"
    foreign.write_bytes(b"%PDF-1.4 this is no sound" * 100)
    with pytest.raises(DeviceError) as raised:
        files.file_input(str(foreign))
    assert str(raised.value) == (
        f"cannot read '{foreign}' as sound: format not recognised;"
        " give a WAV, FLAC, OGG or MP3 file"
    )


def test_what_cannot_be_a_recording(tmp_path: Path) -> None:
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


# --- what is written --------------------------------------------------------------------------


def test_what_is_written_is_a_wav_file_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sink = files.WavFile(str(path))
    assert soundfile.info(path).frames == 0, "from the start"
    samples = noise(60_000)
    for block in np.split(samples, 250):
        sink.write(pcm.from_array(block))
    # 2.5 s written; nothing closed, as after a kill -9.
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
def test_a_full_disk_is_told_once_and_the_sound_goes_on() -> None:
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
    # A limit on the size of files is a disk that is full after 60 000 bytes.
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
    assert soundfile.info(tmp_path / "a.wav").frames == 4800, "what was written before stays"


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


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("nowhere/a.wav", "no such file or directory"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
    ):
        with pytest.raises(DeviceError, match=said):
            files.file_output(str(tmp_path / name))


# --- keeping time -----------------------------------------------------------------------------


class Collector:
    """Keeps what a device says, until there is enough."""

    def __init__(self, enough: int) -> None:
        self.calls: list[tuple[int, bytes, int, bool]] = []
        self.complete = threading.Event()
        self._enough = enough

    def on_block(self, block: bytes, adc_ns: int, overflowed: bool) -> None:
        """As a microphone calls it."""
        self._add(block, adc_ns, overflowed)

    def render(self, samples: int, dac_ns: int) -> bytes:
        """As a speaker calls it: the n-th call gives samples of value n."""
        block = np.full(samples, len(self.calls) + 1, np.int16).tobytes()
        self._add(block, dac_ns, False)
        return block

    def _add(self, block: bytes, at: int, overflowed: bool) -> None:
        self.calls.append((time.monotonic_ns(), block, at, overflowed))
        if len(self.calls) >= self._enough:
            self.complete.set()


def test_a_file_is_heard_in_real_time(tmp_path: Path) -> None:
    samples = noise(24_000)
    soundfile.write(tmp_path / "a.wav", samples, 24_000)
    microphone = files.file_input(str(tmp_path / "a.wav"))
    assert microphone.description == f"file '{tmp_path}/a.wav', 24000 Hz, 1 channel, latency 0 ms"
    heard = Collector(10)
    microphone.start(heard.on_block)
    assert heard.complete.wait(SOON)
    microphone.stop()
    calls = heard.calls
    seen = pcm.to_array(b"".join(block for _, block, _, _ in calls))
    np.testing.assert_array_equal(seen, samples[: len(seen)])
    for (_, _, first, _), (_, _, second, _) in itertools.pairwise(calls):
        assert second - first == 20_000_000
    for called, block, adc, overflowed in calls:
        assert len(block) == 960
        assert called >= adc + 20_000_000, "a block is given when its last sample has been heard"
        assert not overflowed
    assert microphone.failure() is None


def test_a_speaker_asks_in_real_time_and_writes_what_it_got(tmp_path: Path) -> None:
    speaker = files.file_output(str(tmp_path / "a.wav"))
    assert speaker.latency_ns == 10_000_000
    asked = Collector(20)
    before = time.monotonic_ns()
    speaker.start(asked.render)
    assert asked.complete.wait(SOON)
    speaker.stop()
    for (_, _, first, _), (_, _, second, _) in itertools.pairwise(asked.calls):
        assert second - first == 10_000_000
    assert asked.calls[0][2] >= before + speaker.latency_ns
    for called, _, dac, _ in asked.calls:
        assert called >= dac - speaker.latency_ns
    seen, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    np.testing.assert_array_equal(seen, np.repeat(np.arange(1, len(asked.calls) + 1), 240))
    assert speaker.underflows == 0
    assert speaker.failure() is None
    assert speaker.warning() is None


def test_a_short_stall_loses_nothing() -> None:
    heard = Collector(12)

    def slow_once(block: bytes, adc_ns: int, overflowed: bool) -> None:
        heard.on_block(block, adc_ns, overflowed)
        if len(heard.calls) == 2:
            threading.Event().wait(0.1)  # the machine stalls for five blocks

    microphone = files.null_input()
    microphone.start(slow_once)
    assert heard.complete.wait(SOON)
    microphone.stop()
    assert not any(overflowed for *_, overflowed in heard.calls)
    for (_, _, first, _), (_, _, second, _) in itertools.pairwise(heard.calls):
        assert second - first == 20_000_000
    # It has caught up: the last block is not five blocks late.
    called, _, adc, _ = heard.calls[11]
    assert called - adc - 20_000_000 < 80_000_000


def test_a_long_stall_is_an_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STALL_NS", 50_000_000)
    samples = noise(24_000)
    soundfile.write(tmp_path / "a.wav", samples, 24_000)
    heard = Collector(8)

    def slow_once(block: bytes, adc_ns: int, overflowed: bool) -> None:
        heard.on_block(block, adc_ns, overflowed)
        if len(heard.calls) == 2:
            threading.Event().wait(0.15)

    microphone = files.file_input(str(tmp_path / "a.wav"))
    microphone.start(slow_once)
    assert heard.complete.wait(SOON)
    microphone.stop()
    overflows = [n for n, call in enumerate(heard.calls) if call[3]]
    assert overflows == [2], "told once, with the block after the gap"
    start = heard.calls[0][2]
    assert heard.calls[2][2] - heard.calls[1][2] >= 100_000_000, "a gap"
    for _, block, adc, _ in heard.calls:
        # What is heard is what the file has at that time: the gap is lost, nothing is late.
        place = round((adc - start) * 24_000 / 1e9)
        np.testing.assert_array_equal(pcm.to_array(block), samples[place : place + 480])


def test_a_long_stall_is_silence_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "STALL_NS", 50_000_000)
    asked = Collector(10)

    def slow_once(samples: int, dac_ns: int) -> bytes:
        if len(asked.calls) == 2:
            threading.Event().wait(0.15)
        return asked.render(samples, dac_ns)

    speaker = files.file_output(str(tmp_path / "a.wav"))
    speaker.start(slow_once)
    assert asked.complete.wait(SOON)
    speaker.stop()
    assert speaker.underflows == 1
    seen, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    start = asked.calls[0][2]
    for number, (_, _, dac, _) in enumerate(asked.calls):
        place = round((dac - start) * 24_000 / 1e9)
        assert set(seen[place : place + 240]) == {number + 1}, "where the clock says"
    assert (seen == 0).sum() >= 240 * 5


@pytest.mark.parametrize("make", [files.null_input, files.null_output])
def test_stop_is_prompt_and_may_come_twice_and_early(
    make: Callable[[], files.PacedInput | files.PacedOutput],
) -> None:
    unused = make()
    unused.stop()
    unused.stop()
    device = make()
    calls = Collector(2)
    _start(device, calls)
    assert calls.complete.wait(SOON)
    device.stop()
    seen = len(calls.calls)
    assert not [thread for thread in threading.enumerate() if thread.name == "device"]
    device.stop()
    assert len(calls.calls) == seen, "no call after stop"
    with pytest.raises(RuntimeError, match="started once"):
        _start(device, calls)


def test_a_callback_may_stop_its_device() -> None:
    microphone = files.null_input()
    stopped = threading.Event()

    def stop(*_: object) -> None:
        microphone.stop()
        stopped.set()

    microphone.start(stop)
    assert stopped.wait(SOON)
    assert microphone.failure() is None


def test_stop_does_not_wait_for_a_callback_that_hangs() -> None:
    begun, release = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        begun.set()
        release.wait(SOON)

    microphone = files.null_input()
    microphone.start(hang)
    assert begun.wait(SOON)
    before = time.monotonic()
    microphone.stop()
    took = time.monotonic() - before
    release.set()
    assert took < SOON / 2, "it would have hung for longer"


def _wait_for_failure(device: files.PacedInput | files.PacedOutput) -> str:
    deadline = time.monotonic() + SOON
    while (failure := device.failure()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)  # nothing tells: a stage looks once a second
    return failure


def test_what_a_callback_raises_is_told() -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a\nline")

    microphone = files.null_input()
    microphone.start(broken)
    assert _wait_for_failure(microphone) == "ZeroDivisionError: a line"
    microphone.stop()


def test_a_render_of_the_wrong_length_is_told(tmp_path: Path) -> None:
    speaker = files.file_output(str(tmp_path / "a.wav"))
    speaker.start(lambda _samples, _dac: b"abc")
    assert _wait_for_failure(speaker) == "ValueError: render gave 3 bytes for 240 samples"
    speaker.stop()
    assert soundfile.info(tmp_path / "a.wav").frames == 0


@has_full_disk
def test_a_speaker_survives_its_disk() -> None:
    speaker = files.file_output("/dev/full")
    asked = Collector(15)
    speaker.start(asked.render)
    assert asked.complete.wait(SOON)
    assert "no space left on device" in (speaker.warning() or "")
    assert speaker.failure() is None
    speaker.stop()


def test_a_killed_speaker_leaves_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    code = f"""
import threading
from shared.audio import files
files.STALL_NS = 10**12
count = 0
def render(samples, dac_ns):
    global count
    count += 1
    if count == 111:
        print("written", flush=True)
        threading.Event().wait()
    return b"ab" * samples
speaker = files.file_output({str(path)!r})
speaker._sink.write(b"ab" * 24000)
speaker.start(render)
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    seen, _ = soundfile.read(path, dtype="int16")
    assert 2.1 * 24_000 >= len(seen) >= 1.0 * 24_000
    assert set(seen) == {int.from_bytes(b"ab", "little")}


def _start(device: files.PacedInput | files.PacedOutput, calls: Collector) -> None:
    if isinstance(device, files.PacedInput):
        device.start(calls.on_block)
    else:
        device.start(calls.render)
