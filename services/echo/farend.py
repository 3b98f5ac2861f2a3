"""The far end: what the speaker was given in the last seconds, at fractional positions. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shared.audio.pcm import RATE

#: Samples that are kept, 4 s: the longest delay that the canceller looks for, 1 s, and a reserve.
CAPACITY = 4 * RATE
#: The interpolator is a windowed sinc of 16 taps, flat up to 10 kHz. It is tabulated at each 256th
#: of a sample, for fractions from -0.25 to 1.25: within one read the fraction can move by up to a
#: quarter of a sample.
TAPS = 16
_PHASES, _MARGIN = 256, 64
_LAST_PHASE = _PHASES + 2 * _MARGIN
#: The sinc's cutoff, relative to half the sampling rate, and the shape of its Kaiser window.
_CUTOFF, _BETA = 0.92, 7.0


class FarEnd:
    """A buffer of the speaker's samples that is read at fractional positions.

    Samples that never arrived are silence: before the first one, after the last one, and in gaps.
    """

    def __init__(self) -> None:
        self.stream = -1  # -1: nothing was written yet
        self.first = 0  # position of the first sample of this stream that was written
        self.end = 0  # position after the newest sample
        self._line: NDArray[np.float32] = np.zeros(2 * CAPACITY, np.float32)
        self._line_begin = 0  # position of the line's first sample
        self._sound_end = 0  # position after the last frame that was not silent
        self._filters = _interpolation_filters()

    def write(self, stream: int, position: int, samples: NDArray[np.int16]) -> bool:
        """Write samples at their position. Return whether any of them is not zero.

        Empty the buffer first if the samples belong to another stream, or lie before the buffer's
        beginning or more than CAPACITY after its end.
        """
        if len(samples) > CAPACITY:
            position += len(samples) - CAPACITY
            samples = samples[-CAPACITY:]
        if stream != self.stream or not self._line_begin <= position <= self.end + CAPACITY:
            self.stream, self.first = stream, position
            self._line[:] = 0
            self._line_begin = self.end = self._sound_end = position
        at = position - self._line_begin
        if at + len(samples) > len(self._line):
            moved = at + len(samples) - CAPACITY
            kept = max(0, len(self._line) - moved)
            self._line[:kept] = self._line[moved : moved + kept]
            self._line[kept:] = 0
            self._line_begin += moved
            at -= moved
        here = self._line[at : at + len(samples)]
        here[:] = samples
        here *= 1 / 32768
        self.end = max(self.end, position + len(samples))
        sounds = bool(samples.any())
        if sounds:
            self._sound_end = max(self._sound_end, position + len(samples))
        return sounds

    def read(self, first: float, step: float, count: int) -> NDArray[np.float32]:
        """Return ``count`` samples, full scale 1: the first at ``first``, then every ``step``.

        ``first`` and ``step`` are in samples. ``step`` is so close to 1 that the last sample lies
        within a quarter of a sample of where a step of exactly 1 would put it.
        """
        begin = first - self._line_begin
        silent = begin - TAPS >= self._sound_end - self._line_begin
        if silent or not -count <= begin <= len(self._line):
            return np.zeros(count, np.float32)
        whole = math.floor(begin)
        at = whole - (TAPS // 2 - 1)
        length = count + TAPS - 1
        line = self._line[max(0, at) : max(0, at + length)]
        if len(line) < length:
            line = np.pad(line, (max(0, -at), length - len(line) - max(0, -at)))
        # The fraction moves little from the first to the last sample. So interpolate all samples
        # with the filters of the first and of the last one, and fade from one result to the other.
        phase = (begin - whole) * _PHASES
        ends = (phase, phase + (step - 1) * (count - 1) * _PHASES)
        one, other = (min(max(0, round(end) + _MARGIN), _LAST_PHASE) for end in ends)
        out: NDArray[np.float32] = np.correlate(line, self._filters[one], "valid")
        if one == other:
            return out
        faded = np.correlate(line, self._filters[other], "valid")
        faded -= out
        faded *= np.arange(count, dtype=np.float32)
        faded *= np.float32(1 / max(1, count - 1))
        out += faded
        return out


def _interpolation_filters() -> NDArray[np.float32]:
    """Return the interpolator's taps, a row for each phase."""
    phases = np.arange(-_MARGIN, _PHASES + _MARGIN + 1)
    at = np.arange(TAPS) - (TAPS // 2 - 1) - phases[:, None] / _PHASES
    taps = (
        np.sinc(at * _CUTOFF)
        * np.kaiser(2 * TAPS * _PHASES + 1, _BETA)[
            np.rint((at / TAPS + 0.5) * 2 * TAPS * _PHASES).astype(int).clip(0, 2 * TAPS * _PHASES)
        ]
    )
    taps /= taps.sum(axis=1, keepdims=True)
    return np.asarray(taps, np.float32)
