"""Two streams on one time line: the person left, the assistant right, aligned to the sample.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.audio import pcm

#: A stream whose clock and sample count disagree by more than this, for this many frames in a row,
#: has lost samples: it is placed anew by its clock.
DRIFT = pcm.ms_to_samples(60)
PATIENCE = 10
#: One that is this far off is so at once: its position cannot be true.
JUMP = pcm.RATE * 10
GROW = pcm.RATE * 10


@dataclass
class _Channel:
    stream: int = -1
    offset: int = 0  # where position 0 of the stream is on the time line
    off: int = 0  # frames in a row that disagree with the clock


class Timeline:
    """Places frames of two channels by their clock, and keeps each stream gapless by its
    position.
    """

    def __init__(self) -> None:
        self._zero_ns = 0
        self._begun = False
        self._taken = 0  # samples already given away
        self._samples: NDArray[np.int16] = np.zeros((GROW, 2), np.int16)
        self._end = 0  # samples from zero that hold something
        self._channels = (_Channel(), _Channel())

    def put(self, channel: int, stream: int, position: int, at_ns: int, frame: bytes) -> None:
        """Place a frame of s16le whose first sample, ``position`` of its stream, was at
        ``at_ns``.
        """
        if not self._begun:
            self._begun, self._zero_ns = True, at_ns
        known = self._channels[channel]
        by_clock = pcm.ns_to_samples(at_ns - self._zero_ns) - position
        if known.stream != stream:
            known.stream, known.offset, known.off = stream, by_clock, 0
        elif abs(by_clock - known.offset) > DRIFT:
            known.off += 1
            if known.off >= PATIENCE or abs(by_clock - known.offset) > JUMP:
                known.offset, known.off = by_clock, 0
        else:
            known.off = 0
        samples = pcm.to_array(frame)
        begin = known.offset + position - self._taken
        if begin < 0:
            samples, begin = samples[-begin:], 0
        end = begin + len(samples)
        if end > len(self._samples):
            more = np.zeros((max(GROW, end - len(self._samples)), 2), np.int16)
            self._samples = np.concatenate([self._samples, more])
        self._samples[begin:end, channel] = samples
        self._end = max(self._end, end)

    def take(self, keep: int = 0) -> NDArray[np.int16]:
        """Give what is placed, samples by channels, but for the newest ``keep`` samples."""
        ready = max(0, self._end - keep)
        taken = self._samples[:ready].copy()
        rest = self._samples[ready : self._end].copy()
        self._samples[: len(rest)] = rest
        self._samples[len(rest) : self._end] = 0
        self._end -= ready
        self._taken += ready
        return taken
