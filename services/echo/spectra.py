"""The spectra of the microphone's last frame and of the far end's last frames. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Spectra = NDArray[np.complex64]

#: A far end below this mean power, full scale 1, is silent: -70 dBFS.
SILENCE = 1e-7

#: NumPy's FFT keeps single precision, but its type annotations say that it returns double.
rfft = cast("Callable[..., Spectra]", np.fft.rfft)
irfft = cast("Callable[..., Samples]", np.fft.irfft)


class FrameSpectra:
    """The spectra of the microphone's last frame and of the far end's last ``kept`` frames.

    The microphone's is the spectrum of a frame of silence followed by the frame. The far end's are
    those of two frames each.
    """

    def __init__(self, frame: int, kept: int) -> None:
        self._frame, self._kept = frame, kept
        # The far end's last two frames, and a frame of silence followed by the microphone's last
        # frame: one call transforms both, because a call costs as much as the arithmetic in it.
        self._samples: Samples = np.zeros((2, 2 * frame), np.float32)
        self._transformed: Spectra = np.zeros((2, frame + 1), np.complex64)
        #: The microphone's spectrum.
        self.near: Spectra = self._transformed[1]
        # Twice as long as needed, so that the spectra move only once in a while.
        self._spectra: Spectra = np.zeros((2 * kept, frame + 1), np.complex64)
        self._powers: Samples = np.zeros((2 * kept, frame + 1), np.float32)
        self._newest = kept  # the row of the newest spectrum; the older ones follow
        self._silent = 0  # frames in a row without a far end

    def push(self, near: Samples, far: Samples) -> bool:
        """Take a frame; return False once all kept frames of the far end are silent."""
        frame, kept, samples = self._frame, self._kept, self._samples
        samples[1, frame:] = near
        self._silent = 0 if far.any() else self._silent + 1
        if self._silent > kept + 1:
            rfft(samples[1], out=self.near)
            return False
        samples[0, :frame] = samples[0, frame:]
        samples[0, frame:] = far
        rfft(samples, axis=1, out=self._transformed)
        self._newest -= 1
        if self._newest < 0:
            self._newest = kept
            for ring in (self._spectra, self._powers):
                ring[kept + 1 :] = ring[: kept - 1]
        self._spectra[self._newest] = self._transformed[0]
        self._powers[self._newest] = bin_powers(self._transformed[0])
        return True

    def rows(self, age: int, count: int) -> tuple[Spectra, Samples]:
        """Return ``count`` of the far end's spectra and their powers, newest first.

        The newest of them is ``age`` frames old.
        """
        here = slice(self._newest + age, self._newest + age + count)
        return self._spectra[here], self._powers[here]


def correlate(
    line: Samples, part: Samples
) -> tuple[NDArray[np.floating[Any]], NDArray[np.float64]]:
    """Return the correlation of ``part`` with each place in ``line``, and the power of that place.

    Both are sums over the samples. Almost any sound would correlate with an almost silent place in
    the line, so no power is below a thousandth of the largest.
    """
    size = 1 << (len(line) + len(part)).bit_length()
    products = np.fft.irfft(np.fft.rfft(line, size) * np.conj(np.fft.rfft(part, size)), size)
    sums = np.concatenate(([0.0], np.cumsum(np.square(line, dtype=np.float64))))
    powers = sums[len(part) :] - sums[: -len(part)]
    return products[: len(powers)], np.maximum(powers, 1e-3 * powers.max() + 1e-12)


def peak_offset(values: NDArray[np.float64]) -> float:
    """Return how far beside the middle one of three values the peak of their parabola is."""
    if len(values) < 3:
        return 0.0  # the largest value of all is the first or the last one
    before, here, after = values
    return float((before - after) / (2 * (before - 2 * here + after) - 1e-12))


def bin_powers(spectra: Spectra) -> Samples:
    """Return the power of each bin of each spectrum."""
    return np.square(spectra.real) + np.square(spectra.imag)
