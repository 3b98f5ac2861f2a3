"""Stand-ins for a microphone and a speaker: their schedule, and how they keep real time."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from shared.audio import files, paced, pcm

has_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full on this system"
)

#: Seconds that a device may take on a busy machine before a test fails.
SOON = 5.0


def noise(count: int, seed: int = 1) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-20_000, 20_000, count, np.int16)


# --- the schedule -----------------------------------------------------------------------------


@given(st.integers(0, 10**9), st.sampled_from([240, 480, 7]), st.integers(0, 10**15))
def test_the_schedule_never_drifts(block: int, samples: int, start: int) -> None:
    schedule = paced.Schedule(start, samples)
    assert schedule.at(block) == start + block * samples * 1_000_000_000 // 24_000


def test_a_short_stall_is_made_up_for_and_a_long_one_given_up() -> None:
    schedule = paced.Schedule(1_000, 480)
    at = schedule.at(50)
    assert schedule.given_up(50, at) == 0
    assert schedule.given_up(50, at - 5_000_000) == 0
    assert schedule.given_up(50, at + 1_000_000_000) == 0
    assert schedule.given_up(50, at + 1_000_000_001) == 50
    assert schedule.given_up(50, at + 3_015_000_000) == 150
    # After that, the next block is less than a block late.
    assert 0 <= at + 3_015_000_000 - schedule.at(50 + 150) < 20_000_000


# --- keeping time -----------------------------------------------------------------------------


class Collector:
    """Collects the calls of a device, until there are enough."""

    def __init__(self, enough: int) -> None:
        self.calls: list[tuple[int, bytes, int, bool]] = []
        self.complete = threading.Event()
        self._enough = enough

    def on_block(self, block: bytes, adc_ns: int, overflowed: bool) -> None:
        """Take a microphone's block."""
        self._add(block, adc_ns, overflowed)

    def render(self, samples: int, dac_ns: int) -> bytes:
        """Return a speaker's block: the n-th call returns samples of value n."""
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
        assert called >= adc + 20_000_000, "a block is delivered when its last sample was heard"
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

    microphone = paced.null_input()
    microphone.start(slow_once)
    assert heard.complete.wait(SOON)
    microphone.stop()
    assert not any(overflowed for *_, overflowed in heard.calls)
    for (_, _, first, _), (_, _, second, _) in itertools.pairwise(heard.calls):
        assert second - first == 20_000_000
    # The device has caught up: the last block is not five blocks late.
    called, _, adc, _ = heard.calls[11]
    assert called - adc - 20_000_000 < 80_000_000


def test_a_long_stall_is_an_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "STALL_NS", 400_000_000)
    samples = noise(24_000)
    soundfile.write(tmp_path / "a.wav", samples, 24_000)
    heard = Collector(8)

    def slow_once(block: bytes, adc_ns: int, overflowed: bool) -> None:
        heard.on_block(block, adc_ns, overflowed)
        if len(heard.calls) == 2:
            threading.Event().wait(0.6)

    microphone = files.file_input(str(tmp_path / "a.wav"))
    microphone.start(slow_once)
    assert heard.complete.wait(SOON)
    microphone.stop()
    overflows = [n for n, call in enumerate(heard.calls) if call[3]]
    assert overflows == [2], "reported once, with the block after the gap"
    start = heard.calls[0][2]
    assert heard.calls[2][2] - heard.calls[1][2] >= 500_000_000, "a gap"
    for _, block, adc, _ in heard.calls:
        # Each block is what the file has at that time: the gap is lost, and nothing is late.
        place = round((adc - start) * 24_000 / 1e9)
        np.testing.assert_array_equal(pcm.to_array(block), samples[place : place + 480])


def test_a_long_stall_is_silence_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "STALL_NS", 400_000_000)
    asked = Collector(10)

    def slow_once(samples: int, dac_ns: int) -> bytes:
        if len(asked.calls) == 2:
            threading.Event().wait(0.6)
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
        assert set(seen[place : place + 240]) == {number + 1}, "at its time by the clock"
    assert (seen == 0).sum() >= 240 * 5


@pytest.mark.parametrize("make", [paced.null_input, paced.null_output])
def test_stop_is_prompt_and_may_come_twice_and_early(
    make: Callable[[], paced.PacedInput | paced.PacedOutput],
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
    microphone = paced.null_input()
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

    microphone = paced.null_input()
    microphone.start(hang)
    assert begun.wait(SOON)
    before = time.monotonic()
    microphone.stop()
    took = time.monotonic() - before
    release.set()
    assert took < SOON / 2, "stop did not wait for the callback"


def _wait_for_failure(device: paced.PacedInput | paced.PacedOutput) -> str:
    deadline = time.monotonic() + SOON
    while (failure := device.failure()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)  # there is no event to wait for: a stage looks twice a second
    return failure


def test_an_exception_of_the_callback_is_reported() -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a\nline")

    microphone = paced.null_input()
    microphone.start(broken)
    assert _wait_for_failure(microphone) == "ZeroDivisionError: a line"
    microphone.stop()


def test_a_render_of_the_wrong_length_is_reported(tmp_path: Path) -> None:
    speaker = files.file_output(str(tmp_path / "a.wav"))
    speaker.start(lambda _samples, _dac: b"abc")
    assert _wait_for_failure(speaker) == "ValueError: render returned 3 bytes for 240 samples"
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
from shared.audio import files, paced
paced.STALL_NS = 10**12
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


def _start(device: paced.PacedInput | paced.PacedOutput, calls: Collector) -> None:
    if isinstance(device, paced.PacedInput):
        device.start(calls.on_block)
    else:
        device.start(calls.render)
