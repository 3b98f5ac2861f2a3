"""The recorded voices, and functions that find a piece of them in a recording."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from harness.waves import RATE, Samples
from services.emulator.options import VOICE

PHRASE_MS = 1000
"""The shortest phrase, ms: a shorter one is too much like another piece of the same voice."""

HEARD = 0.55
"""A phrase counts as heard from this correlation on.

The sound server changes no sample, so the correlation is 1 where the phrase is. With a gap of some
ms, as a busy machine makes, it is at least 0.7. Two different phrases never reached more than 0.41.
"""


@dataclass(frozen=True)
class Place:
    """The place at which a piece fits best."""

    at: int  # sample of the recording at which it begins
    correlation: float  # 1: it is this piece, sample by sample


@functools.cache
def index() -> dict[str, Any]:
    """Return the index of the voices."""
    known: dict[str, Any] = json.loads((VOICE / "index.json").read_text(encoding="utf-8"))
    return known


def clip(name: str) -> Samples:
    """Return one of the assistant's clips."""
    entry = index()["clips"][name]
    return _decoded(VOICE / entry["file"])[: entry["samples"]]


def phrases(name: str) -> list[tuple[str, Samples]]:
    """Return a clip's words with their sound, joined to phrases of at least ``PHRASE_MS``."""
    sound = clip(name)
    found: list[tuple[str, Samples]] = []
    said: list[str] = []
    first = 0
    for word, begin, end in index()["clips"][name]["words"]:
        first = first if said else begin
        said.append(word)
        if end - first >= PHRASE_MS:
            piece = sound[first * RATE // 1000 : end * RATE // 1000]
            found.append((" ".join(said), piece))
            said.clear()
    return found


def person(utterance: int) -> Samples:
    """Return an utterance of the scripted person."""
    script = index()["person"]
    said = script["utterances"][utterance]
    sound = _decoded(VOICE / script["script"])
    return sound[said["start_ms"] * RATE // 1000 : said["end_ms"] * RATE // 1000]


def find(piece: Samples, recording: Samples) -> Place:
    """Find where ``piece`` fits best into ``recording``."""
    if len(piece) > len(recording):
        return Place(0, 0.0)
    here, wanted = recording.astype(np.float64), piece.astype(np.float64)
    size = 1 << (len(here) + len(wanted)).bit_length()
    spectrum = np.fft.rfft(here, size) * np.conj(np.fft.rfft(wanted, size))
    places = len(here) - len(wanted) + 1
    products = np.fft.irfft(spectrum, size)[:places]
    power = np.concatenate(([0.0], np.cumsum(here**2)))
    energy = power[len(wanted) :] - power[:places]
    # Never less than a whisper, so that silence matches nothing.
    whisper = len(wanted) * 100.0
    correlations = products / np.sqrt(
        np.maximum(energy, whisper) * max(float(np.sum(wanted**2)), whisper)
    )
    best = int(correlations.argmax())
    return Place(best, float(correlations[best]))


def without_gaps(recording: Samples) -> Samples:
    """Return a recording without the silence around the sound and without a busy machine's gaps.

    The recorded voices are never quite silent, not even in their pauses.
    """
    loud = np.flatnonzero(recording)
    if not len(loud):
        return recording[:0]
    gap = RATE // 500
    pieces = []
    begin = 0
    for last in (*np.flatnonzero(np.diff(loud) > gap), len(loud) - 1):
        pieces.append(recording[loud[begin] : loud[last] + 1])
        begin = last + 1
    return np.concatenate(pieces)


@functools.cache
def _decoded(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    sound: Samples = samples
    sound.flags.writeable = False
    return sound
