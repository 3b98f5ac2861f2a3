"""How late the echo comes: a search over the last seconds of both streams. Pure."""

from __future__ import annotations

import numpy as np

from services.echo.kalman import MAX_DELAY, Samples
from shared.audio.pcm import FRAME

#: Frames of the microphone that are searched: 150 frames are 3 s, some words.
SEARCHED = 150
#: The correlation's peak is the echo if it is this many times the scatter of the other values. An
#: echo's peak is at 80 and more; a person's chance likeness to the assistant was seen at 10.
_PEAK = 25.0


class Recent:
    """The last ``length`` samples of a stream, with silence before its beginning."""

    def __init__(self, length: int) -> None:
        # Twice as long as needed, so that ``add`` moves samples only once in a while.
        self._length = self._end = length
        self._line: Samples = np.zeros(2 * length, np.float32)

    @property
    def samples(self) -> Samples:
        """The samples, oldest first: a view that is valid until the next ``add``."""
        return self._line[self._end - self._length : self._end]

    def add(self, samples: Samples) -> None:
        """Add the newest samples, at most ``length`` of them."""
        if self._end + len(samples) > len(self._line):
            kept = self._length - len(samples)
            self._line[:kept] = self._line[self._end - kept : self._end]
            self._end = kept
        self._line[self._end : self._end + len(samples)] = samples
        self._end += len(samples)


class DelaySearch:
    """The recent microphone and far end, and where in the microphone the far end comes back."""

    def __init__(self) -> None:
        self._near = Recent(SEARCHED * FRAME)
        self._far = Recent((SEARCHED + MAX_DELAY) * FRAME)

    def add(self, near: Samples, far: Samples) -> None:
        """Add a frame of both, of the same time."""
        self._near.add(near)
        self._far.add(far)

    def find(self) -> int | None:
        """Return how many samples the echo comes after the far end, at most 1 s; None if unsure."""
        near, far = self._near.samples, self._far.samples
        size = 1 << (len(far) + len(near) - 1).bit_length()
        cross = np.fft.rfft(near, size) * np.conj(np.fft.rfft(far, size))
        # Whitened (GCC-PHAT): speech is alike to itself for many ms, so its peak would be broad.
        cross /= np.abs(cross) + 1e-9
        correlation = np.fft.irfft(cross)
        # The newest samples of both are of the same time.
        first = len(far) - len(near)
        correlation = np.roll(correlation, first)[: first + 1]
        at = int(np.argmax(np.abs(correlation)))
        if abs(correlation[at]) > _PEAK * float(np.std(correlation)):
            return at
        return None
