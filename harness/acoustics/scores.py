"""How much of the person's voice is left: ESTOI and, where it is installed, AECMOS.

ESTOI (the package pystoi) says how intelligible a voice is, 0 to 1, compared with the clean voice.
AECMOS (the package speechmos) predicts how people would rate the echo and the degradation of the
voice, 1 to 5: the metric of the AEC Challenge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import soxr

from harness.acoustics.responses import Sound
from shared.audio.pcm import RATE

#: A canceller delays the voice by less than this, samples: 30 ms.
_LATEST = RATE * 30 // 1000
#: AECMOS takes sounds at 16 kHz. It was trained with pieces of about this length, s.
_MOS_RATE, MOS_PIECE_S = 16_000, 10.0


def lateness(clean: Sound, out: Sound) -> int:
    """Return by how many samples ``out`` is later than the voice in it, at least 0."""
    size = 1 << (2 * len(clean)).bit_length()
    products = np.fft.irfft(np.fft.rfft(out, size) * np.conj(np.fft.rfft(clean, size)))
    return int(np.argmax(products[:_LATEST])) if products[:_LATEST].any() else 0


def intelligibility(clean: Sound, out: Sound, spoken: list[tuple[int, int]]) -> float | None:
    """Return the ESTOI of the person's sentences in ``out``; None if nobody speaks."""
    import pystoi  # noqa: PLC0415 - an extra

    if not spoken:
        return None
    late = lateness(clean, out)
    voice = np.concatenate([clean[begin:end] for begin, end in spoken])
    moved = np.concatenate((out[late:], np.zeros(late)))
    heard = np.concatenate([moved[begin:end] for begin, end in spoken])
    return float(pystoi.stoi(voice, heard, RATE, extended=True))


@functools.cache
def aecmos() -> Callable[[Sound, Sound, Sound], tuple[float, float]] | None:
    """Return a function that rates a piece of double talk, or None without speechmos.

    The function takes the far end, the microphone and the result; it returns the scores of the echo
    and of the degradation.
    """
    try:
        from speechmos.aecmos import AECMOS  # noqa: PLC0415 - not a dependency
    except ImportError:
        return None
    model = AECMOS("aecmos_16kHz")

    def rate(far: Sound, microphone: Sound, out: Sound) -> tuple[float, float]:
        at_16k = [
            np.clip(soxr.resample(sound, RATE, _MOS_RATE), -1, 1).astype(np.float32)
            for sound in (far, microphone, out)
        ]
        names = ("lpb", "mic", "enh")
        found = model(dict(zip(names, at_16k, strict=True)), "dt")
        return float(found["echo_mos"]), float(found["deg_mos"])

    return rate
