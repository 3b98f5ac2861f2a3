"""The greatest gain of the echo path at each delay: the microphone itself limits it. Pure.

The echo of a played frame comes back in two frames of the microphone: the one that is captured
``delay`` frames after the frame was played, and the next one. If these two are soft, the path is
weak at that delay. So the first word of the assistant shows how loud the echo is, and at which
delays there is none.
"""

from __future__ import annotations

import numpy as np

from services.echo.spectra import Samples


class PathBound:
    """The greatest power gain of the echo path at each delay from 0 to ``delays`` - 1 frames."""

    def __init__(self, delays: int, greatest: float) -> None:
        self._greatest = greatest
        self.gains: Samples = np.full(delays, greatest, np.float32)
        # Powers of the far end's frames, newest first: of the differences between neighbouring
        # samples (see ``_power``), and of the samples themselves.
        self._played: Samples = np.zeros(delays + 1, np.float32)
        self._loud: Samples = np.zeros(delays + 1, np.float32)
        self._heard = np.inf  # power of the last frame of the microphone

    def reset(self) -> None:
        """Forget the bounds so far: the path may be another one."""
        self.gains[:] = self._greatest

    def add(self, near: Samples, far: Samples) -> bool:
        """Take a frame of both; return whether a gain has become lower."""
        self._played[1:] = self._played[:-1]
        self._played[0] = _power(far)
        self._loud[1:] = self._loud[:-1]
        self._loud[0] = float(np.dot(far, far)) / len(far)
        # A microphone without a single bit of sound is muted, and shows nothing.
        heard, before = _power(near) or np.inf, self._heard
        self._heard = heard
        shown = np.float32(heard + before) / (self._played[1:] + np.float32(1e-12))
        lower = bool((shown < self.gains).any())
        if lower:
            np.minimum(self.gains, shown, out=self.gains)
        return lower

    def echoes(self) -> Samples:
        """Return how loud the echo in the last frame can be, for each delay: a mean power."""
        return self.gains * (self._loud[1:] + self._loud[:-1])


def _power(samples: Samples) -> float:
    """Return the mean power of the differences: they weigh all frequencies of a voice alike."""
    steps = samples[1:] - samples[:-1]
    return float(np.dot(steps, steps)) / len(steps)
