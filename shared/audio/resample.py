"""Resampling of a live stream of int16 samples, without losing a sample.

A microphone is resampled by soxr. A speaker is resampled by a polyphase FIR filter of our own,
because its delay is time until an interruption is silent: soxr, at any quality better than linear,
works in blocks and holds 10 to 40 ms back (5 to 10 ms in its variable-rate mode). Our filter holds
back half its length, 1.3 ms, and says beforehand how many samples it needs for the next output.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

#: Half the filter's length, in samples of the lower rate: 1.33 ms at 24 kHz.
_HALF = 32
#: The shape of the Kaiser window and the cutoff, relative to half the lower rate. They give an
#: attenuation of 80 dB and a transition of 1.9 kHz that ends a little above half the lower rate: at
#: 24 kHz the filter is flat up to 10.4 kHz.
_BETA = 8.0
_CUTOFF = 0.95


class Inward:
    """soxr's resampler, for a microphone: there nobody notices another 10 ms of delay."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        # As floats: to integers soxr adds dither, and a muted microphone would not be all zeros.
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32")
        self._rate_in, self._rate_out = rate_in, rate_out
        self._taken = self._returned = 0  # samples, at the input's and the output's rate

    def process(self, samples: NDArray[np.int16]) -> tuple[NDArray[np.int16], int]:
        """Take samples. Return the ready samples, and how many ns after the first input they begin.

        The first input is the first sample of ``samples``; a negative number means before it. soxr
        compensates its delay: its n-th sample lies n / rate_out s after the stream's beginning.
        """
        begins_ns = self._returned * 1_000_000_000 // self._rate_out
        begins_ns -= self._taken * 1_000_000_000 // self._rate_in
        made: NDArray[np.float32] = self._stream.resample_chunk(samples.astype(np.float32))
        self._taken += len(samples)
        self._returned += len(made)
        np.rint(made, out=made)
        np.clip(made, -32768, 32767, out=made)
        return made.astype(np.int16), begins_ns


class Resampler:
    """Converts a stream of int16 samples from one rate to another.

    ``delay`` (input samples) and ``delay_ns`` say how much later a sound comes out than it went in.
    The filter starts with silence, so n input samples always make ceil(n * rate_out / rate_in)
    output samples.
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
        # One row of taps per phase, newest sample last. The filter's middle is exactly its delay.
        length = taps * up
        cutoff = _CUTOFF * min(1.0, rate_out / rate_in)
        prototype = np.sinc((np.arange(length) - length / 2) / up * cutoff)
        prototype *= np.kaiser(length + 1, _BETA)[:-1]
        bank = prototype.reshape(taps, up).T[:, ::-1]
        # Give each phase the same gain, or a steady tone would flutter.
        bank = bank / bank.sum(axis=1, keepdims=True)
        self._bank: NDArray[np.float32] = np.ascontiguousarray(bank, dtype=np.float32)
        self._past: NDArray[np.float32] = np.zeros(taps - 1, dtype=np.float32)
        self._next = 0  # the next output's place after the input so far, in 1 / up samples

    @property
    def next_input(self) -> float:
        """The next output's place, in input samples after the input so far, without the delay."""
        return self._next / self._up

    def needed(self, outputs: int) -> int:
        """Return how many more input samples are needed for ``outputs`` more output samples."""
        if outputs <= 0:
            return 0
        return (self._next + (outputs - 1) * self._down) // self._up + 1

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take any number of samples; return every output sample that is ready."""
        count = len(samples)
        line = np.concatenate((self._past, samples), dtype=np.float32)
        self._past = line[count:]
        outputs = self._outputs(count)
        if outputs <= 0:
            self._next -= count * self._up
            return np.empty(0, dtype=np.int16)
        # Row i is the part of the input that ends with sample i.
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
        """Take samples as ``process`` does, without computing the output."""
        self._past = np.concatenate((self._past, samples), dtype=np.float32)[len(samples) :]
        count = len(samples)
        self._next += max(0, self._outputs(count)) * self._down - count * self._up

    def _outputs(self, count: int) -> int:
        return -((self._next - count * self._up) // self._down)
