"""A sound that can be computed at any fraction of a sample, for tests of the far end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.audio.pcm import RATE


def sound(samples: int, *, at: float = 0.0, step: float = 1.0) -> NDArray[np.float64]:
    """Return four tones between 220 and 7900 Hz, full scale 1.

    ``at`` is the position of the first sample, ``step`` the distance between two, in samples.
    """
    places = at + np.arange(samples) * step
    tones = ((220, 0.2), (1370, 0.1), (3310, 0.1), (7900, 0.05))
    return sum(
        (a * np.sin(2 * np.pi * f / RATE * places + f) for f, a in tones),
        start=np.zeros(samples),
    )


def int16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return samples of full scale 1 as 16-bit samples."""
    return np.rint(samples * 32768).astype(np.int16)
