"""A high-pass filter against rumble. Pure."""

from __future__ import annotations

import math

import numpy as np

from services.echo.spectra import Samples
from shared.audio.pcm import FRAME, RATE

#: Rumble is below 100 Hz, and few voices are: twice 3 dB are removed at this frequency, and 12 dB
#: more for each octave below it.
_CUTOFF_HZ = 100.0
_KEPT = math.exp(-2 * math.pi * _CUTOFF_HZ / RATE)
_POWERS = _KEPT ** np.arange(FRAME)


class HighPass:
    """Two filters of the first order in a row, for frames of 20 ms."""

    def __init__(self) -> None:
        self._in, self._out = [0.0, 0.0], [0.0, 0.0]  # the last sample into and out of each filter

    def process(self, samples: Samples) -> Samples:
        """Return a frame without rumble."""
        line = samples.astype(np.float64)
        for number in range(2):
            steps = line.copy()
            steps[1:] -= line[:-1]
            steps[0] -= self._in[number]
            self._in[number] = float(line[-1])
            # y[n] = kept * y[n - 1] + step[n], for a whole frame at once
            steps *= (1 + _KEPT) / 2
            steps[0] += _KEPT * self._out[number]
            line = np.cumsum(steps / _POWERS) * _POWERS
            self._out[number] = float(line[-1])
        return line.astype(np.float32)
