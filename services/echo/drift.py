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
_UNMOVED = len(_SHIFTS) // 2
#: A shift must be exp(2) = 7 times as likely as an echo that does not move. With clocks of equal
#: speed 3,300 comparisons in 46 rooms, up to an RT60 of 2 s, reached at most exp(0.6). A drift of
#: 300 or 500 ppm reached exp(2.5) after at most three comparisons, 2 s. Tried: 1 to 3.
_EVIDENCE = 2.0
#: The share of the earlier comparisons that is kept from stretch to stretch: if there is a drift,
#: all agree.
_KEPT = np.float32(0.5)
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
        #: buffer that ran empty moves it only once.
        self.agrees = False
        self._delay_change = 0.0  # by the last comparison
        self._before: Spectra | None = None
        self._turned: Spectra = np.zeros(self._turns.shape[1], np.complex64)
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
        self._turned *= _KEPT
        self._turned += now * before.conj()
        delay_change = self._shift()
        self.agrees = delay_change != 0 and abs(delay_change - self._delay_change) <= _WRONG
        self._delay_change = delay_change
        return delay_change

    def _shift(self) -> float:
        """Return the shift that the comparisons prove, or 0 if it is small or not proved."""
        weights = np.abs(self._turned)
        total = float(weights.sum()) + 1e-12
        # Not a product of matrices: the linear algebra library would wake its threads for it, which
        # costs a hundred times as much.
        likeness = (self._turns * self._turned).real.sum(axis=1) / total
        best = int(np.argmax(likeness))
        # At the end of the range it is no peak: the likeness may rise beyond the end.
        if best in (0, len(_SHIFTS) - 1) or abs(_SHIFTS[best]) <= _LEAST:
            return 0.0
        # The phases scatter around their mean as a von Mises distribution does. Its concentration
        # follows from the mean (Banerjee et al., JMLR 6, 2005). Loud bins decide, and neighbours
        # among them are alike: half of the samples are silence, so only half of the bins are
        # independent.
        most = min(float(likeness[best]), 0.99)
        concentration = most * (2 - most**2) / (1 - most**2)
        values = total**2 / (2 * float(np.square(weights).sum()) + 1e-12)
        evidence = values * concentration * (most - float(likeness[_UNMOVED]))
        return float(_SHIFTS[best]) if evidence > _EVIDENCE else 0.0
