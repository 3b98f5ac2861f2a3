"""Two streams on one time line, the person left and the assistant right. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.audio import pcm

#: A stream has lost samples if its clock and its count of samples disagree by more than 60 ms for
#: ten frames in a row. It is then placed anew by its clock. Stamps scatter by less than that.
DRIFT = pcm.ms_to_samples(60)
DRIFT_FRAMES = 10
#: A frame that is more than 10 s off is placed by its clock at once: its position cannot be right.
JUMP = pcm.RATE * 10
#: The buffer grows by at least 10 s at a time.
GROWTH = pcm.RATE * 10


@dataclass
class _Channel:
    stream: int = -1
    offset: int = 0  # where position 0 of the stream lies on the time line, in samples
    drifted: int = 0  # frames in a row that disagree with the clock


class Timeline:
    """Places the frames of two channels by their clocks, and keeps each stream without gaps.

    Within a stream the positions decide. The clock decides where a stream begins, and where it goes
    on after it has lost samples.
    """

    def __init__(self) -> None:
        self._zero_ns: int | None = None  # the time of sample 0
        self._taken = 0  # samples that were returned by ``take``
        self._samples: NDArray[np.int16] = np.zeros((GROWTH, 2), np.int16)
        self._end = 0  # samples in the buffer that hold something
        self._channels = (_Channel(), _Channel())

    def put(self, channel: int, stream: int, position: int, at_ns: int, frame: bytes) -> None:
        """Place a frame of s16le at 24 kHz.

        ``channel`` is 0 or 1. The frame's first sample has ``position`` in ``stream``, and was at
        the converter at ``at_ns``.
        """
        if self._zero_ns is None:
            self._zero_ns = at_ns
        known = self._channels[channel]
        by_clock = pcm.ns_to_samples(at_ns - self._zero_ns) - position
        if known.stream != stream:
            known.stream, known.offset, known.drifted = stream, by_clock, 0
        elif abs(by_clock - known.offset) > DRIFT:
            known.drifted += 1
            if known.drifted >= DRIFT_FRAMES or abs(by_clock - known.offset) > JUMP:
                known.offset, known.drifted = by_clock, 0
        else:
            known.drifted = 0
        samples = pcm.to_array(frame)
        begin = known.offset + position - self._taken
        if begin < 0:
            samples, begin = samples[-begin:], 0
        end = begin + len(samples)
        if end > len(self._samples):
            more = np.zeros((max(GROWTH, end - len(self._samples)), 2), np.int16)
            self._samples = np.concatenate([self._samples, more])
        self._samples[begin:end, channel] = samples
        self._end = max(self._end, end)

    def take(self, keep: int = 0) -> NDArray[np.int16]:
        """Return and remove all samples but the newest ``keep``: an array of samples by channels.

        Sound that arrives later for a time that was taken is dropped.
        """
        ready = max(0, self._end - keep)
        taken = self._samples[:ready].copy()
        rest = self._samples[ready : self._end].copy()
        self._samples[: len(rest)] = rest
        self._samples[len(rest) : self._end] = 0
        self._end -= ready
        self._taken += ready
        return taken
