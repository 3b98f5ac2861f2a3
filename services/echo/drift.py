"""How much faster the speaker's clock is than the microphone's, from the echo's phase. Pure.

If one clock is faster, the echo comes later and later (or sooner and sooner). ``Drift`` compares
the phases between microphone and far end in two stretches that follow each other. The comparison
needs no filter that has learnt the echo: while the echo moves fast, no filter can learn it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.echo.spectra import Spectra

#: Frames in a stretch: 25 frames are 0.5 s. Half as many scatter more, twice as many blur a drift
#: of 500 ppm.
STRETCH = 25
#: Two stretches are compared at shifts of up to 8 samples, in steps of a quarter: 667 ppm.
_SHIFTS = np.arange(-8, 8.25, 0.25)
#: The likeness of two stretches at the best shift, 1 if only the shift differs. By chance it is
#: below 0.25 (three deviations of a mean over 156 frequencies).
_ALIKE = 0.3
#: A shift can be wrong by a sample, where a few loud tones make most of a stretch.
_WRONG = 1.0
#: Up to two samples, 167 ppm, the filter measures the drift itself (``KalmanFilter.growth``).
_LEAST = 2.0


class Drift:
    """Measures by how many samples the echo moves from one stretch to the next."""

    def __init__(self, frequencies: NDArray[np.float32]) -> None:
        """``frequencies`` are those of the bins, in radians per sample."""
        self._turns: Spectra = np.exp(1j * np.outer(_SHIFTS, frequencies)).astype(np.complex64)
        self.forget()

    def forget(self) -> None:
        """Start again: the echo has moved, or the far end was read at another speed."""
        #: Whether the last two comparisons agree: a drift moves the echo in each stretch, but a
        #: buffer that ran empty only once.
        self.agrees = False
        self._later = 0.0  # by the last comparison
        self._before: Spectra | None = None
        self._sum: Spectra = np.zeros(self._turns.shape[1], np.complex64)
        self._frames = self._delay = 0

    def add(self, products: Spectra, delay: int) -> float | None:
        """Take a frame's products of far end and microphone at a delay.

        At the end of a stretch return by how many samples the echo comes later than in the stretch
        before, or 0 if that is little or not known. In between return None.
        """
        if delay != self._delay:
            self.forget()
            self._delay = delay
        self._sum += products
        self._frames += 1
        if self._frames < STRETCH:
            return None
        before, now = self._before, self._sum
        self._before, self._sum, self._frames = now, np.zeros_like(now), 0
        if before is None:
            return 0.0
        turned = now * before.conj()
        # Not a product of matrices: the linear algebra library would wake its threads for it, which
        # costs a hundred times as much.
        found = (self._turns * turned).real.sum(axis=1) / (float(np.abs(turned).sum()) + 1e-12)
        best = int(np.argmax(found))
        # At the end of the range it is no peak: the likeness may rise beyond the end.
        is_peak = found[best] > _ALIKE and best not in (0, len(_SHIFTS) - 1)
        later = float(_SHIFTS[best]) if is_peak and abs(_SHIFTS[best]) > _LEAST else 0.0
        self.agrees = later != 0 and abs(later - self._later) <= _WRONG
        self._later = later
        return later
