"""Mono 16-bit samples: where sound is in them, its pitch, and a tone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

RATE = 24_000
"""The default rate of an ear and a mouth, samples per second."""
#: The least amplitude of sound: -50 dBFS.
_SOUND = np.int16(32767 * 10 ** (-50 / 20))


def spans(samples: Samples, rate: int = RATE, *, gap_ms: float = 100.0) -> list[tuple[int, int]]:
    """Return the stretches of sound: (first sample, sample after the last) of each.

    A sample above -50 dBFS counts as sound; stretches nearer than ``gap_ms`` are one.
    """
    loud = np.flatnonzero((samples > _SOUND) | (samples < -_SOUND))
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > gap_ms * rate / 1000)
    firsts = loud[np.concatenate(([0], breaks + 1))]
    lasts = loud[np.concatenate((breaks, [len(loud) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def tone(frequency: float, seconds: float, rate: int = RATE, *, peak: float = 0.25) -> Samples:
    """Return a sine of this frequency, Hz; its peak is a fraction of full scale."""
    moments = np.arange(round(seconds * rate)) / rate
    wave: Samples = (np.sin(2 * np.pi * frequency * moments) * peak * 32767).astype(np.int16)
    return wave


def loudest_frequency(samples: Samples) -> float:
    """Return the frequency with the most energy, Hz. The samples are at RATE."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))
