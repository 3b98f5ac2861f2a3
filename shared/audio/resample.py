"""Streaming resampling of a live device: int16 in, int16 out, and never a sample lost.

A microphone goes through soxr. A speaker goes through a polyphase FIR of our own, because what is
rendered must be audible at once and an interruption silent at once: soxr, at any quality better
than linear, works in blocks and holds 10 to 40 ms of audio back (5 to 10 in its variable-rate
mode). This one holds back half its filter, 1.3 ms, and says beforehand how many samples it needs
for the next output.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

# Half the filter's length, in samples of the lower rate: 1.33 ms at 24 kHz. With Kaiser's window
# of 8 that gives 80 dB and a transition of 1.9 kHz, which ends a little above the lower rate's
# half: flat to 10.4 kHz.
_HALF = 32
_BETA = 8.0
_CUTOFF = 0.95


class Inward:
    """soxr's streaming resampler, for a microphone: there 10 ms more are not noticed."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16")
        self._rate_in, self._rate_out = rate_in, rate_out
        self._taken = self._given = 0  # samples, at each one's own rate

    def process(self, samples: NDArray[np.int16]) -> tuple[NDArray[np.int16], int]:
        """Give what is ready, and how many ns its first sample lies after the first one taken.

        soxr makes up for its delay: its n-th sample is n / rate_out after the stream's beginning.
        """
        begins = self._given * 1_000_000_000 // self._rate_out
        begins -= self._taken * 1_000_000_000 // self._rate_in
        made: NDArray[np.int16] = self._stream.resample_chunk(np.ascontiguousarray(samples))
        self._taken += len(samples)
        self._given += len(made)
        return made, begins


class Resampler:
    """Turns a stream of int16 samples at one rate into the same stream at another.

    ``delay``: how much later a sound leaves than it came in, in input samples; the same as
    ``delay_ns``. The filter starts in silence: n samples in are ceil(n * rate_out / rate_in) out,
    always.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = math.gcd(rate_in, rate_out)
        self._up = up = rate_out // common
        self._down = rate_in // common
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.delay = math.ceil(_HALF * max(1.0, rate_in / rate_out))
        self.delay_ns = self.delay * 1_000_000_000 // rate_in
        self._taps = taps = 2 * self.delay
        # One row of taps per phase, newest sample last; the filter's middle is its delay, exactly.
        length = taps * up
        cutoff = _CUTOFF * min(1.0, rate_out / rate_in)
        prototype = np.sinc((np.arange(length) - length / 2) / up * cutoff)
        prototype *= np.kaiser(length + 1, _BETA)[:-1]
        bank = prototype.reshape(taps, up).T[:, ::-1]
        # Each phase has the same gain, or a steady tone would flutter.
        bank = bank / bank.sum(axis=1, keepdims=True)
        self._bank: NDArray[np.float32] = np.ascontiguousarray(bank, dtype=np.float32)
        self._past: NDArray[np.float32] = np.zeros(taps - 1, dtype=np.float32)
        self._next = 0  # the next output's place after the samples seen, in steps of 1 / up sample

    @property
    def next_input(self) -> float:
        """Where the next output lies, in input samples after all that came; without the delay."""
        return self._next / self._up

    def needed(self, outputs: int) -> int:
        """Give how many more input samples make ``outputs`` more output samples."""
        if outputs <= 0:
            return 0
        return (self._next + (outputs - 1) * self._down) // self._up + 1

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take any number of samples, give every sample that is ready."""
        count = len(samples)
        line = np.concatenate((self._past, samples), dtype=np.float32)
        self._past = line[count:]
        outputs = self._outputs(count)
        if outputs <= 0:
            self._next -= count * self._up
            return np.empty(0, dtype=np.int16)
        # Row i is the stretch of input that ends with sample i.
        windows = np.ndarray((count, self._taps), np.float32, line, strides=(4, 4))
        if self._up == 1:
            start = self._next
            made: NDArray[np.float32] = np.einsum(
                "ij,j->i", windows[start :: self._down], self._bank[0]
            )
        elif self._down == 1:
            made = np.einsum("ij,kj->ik", windows, self._bank).reshape(-1)
        else:
            places = np.arange(self._next, self._next + outputs * self._down, self._down)
            rows, phases = np.divmod(places, self._up)
            made = np.einsum("ij,ij->i", windows[rows], self._bank[phases])
        self._next += outputs * self._down - count * self._up
        np.rint(made, out=made)
        np.clip(made, -32768, 32767, out=made)
        return made.astype(np.int16)

    def skip(self, samples: NDArray[np.int16]) -> None:
        """Take samples as ``process`` does, of which nobody wants what it would give."""
        self._past = np.concatenate((self._past, samples), dtype=np.float32)[len(samples) :]
        count = len(samples)
        self._next += max(0, self._outputs(count)) * self._down - count * self._up

    def _outputs(self, count: int) -> int:
        return -((self._next - count * self._up) // self._down)
