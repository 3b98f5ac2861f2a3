"""Impulse responses by arithmetic, whose reverberation time is known."""

from __future__ import annotations

import numpy as np

from harness.acoustics.responses import Sound
from shared.audio.pcm import RATE


def decaying(reverb_s: float, *, lead: int = 0, seed: int = 1) -> Sound:
    """Return a response by arithmetic: a direct sound, then noise that decays by 60 dB."""
    at = np.arange(round(1.3 * reverb_s * RATE)) / RATE
    tail = np.random.default_rng(seed).standard_normal(len(at)) * 0.05
    tail *= 10 ** (-3 * at / reverb_s)
    tail[0] = 1.0
    return np.concatenate((np.zeros(lead), tail))
