"""The voices in a room: those that ship with the product, or any directory of recordings.

All sounds are at 24 kHz, with an RMS of 1 while someone speaks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr

from harness.acoustics.responses import Sound, active_rms
from harness.speech import clip, index, person
from shared.audio.pcm import RATE

#: A sentence of a recording: as long as a person's interruption, s.
SENTENCE_S = (1.2, 4.0)
#: A pause in a recording: 150 ms that are 35 dB below its loudest 20 ms.
_PAUSE_FRAMES, _PAUSE = 7, 10**-3.5
_FRAME = RATE // 50
#: By how much a shipped voice is slowed down or sped up, with its pitch: one voice becomes many.
_SPEEDS = (0.85, 1.15)


class NoVoicesError(Exception):
    """The directory holds too little speech."""


@dataclass(frozen=True)
class Voices:
    """The sentences of the assistant and of the person."""

    assistant: list[Sound]
    person: list[Sound]
    varied: bool  # whether the person's speed and pitch vary

    def reply(self, chance: np.random.Generator, length: int) -> Sound:
        """Return ``length`` samples of the assistant's speech, without added pauses."""
        at = int(chance.integers(len(self.assistant)))
        parts: list[Sound] = []
        while sum(map(len, parts)) < length:
            parts.append(self.assistant[(at + len(parts)) % len(self.assistant)])
        return np.concatenate(parts)[:length]

    def sentence(self, chance: np.random.Generator) -> Sound:
        """Return a sentence of the person."""
        said = self.person[int(chance.integers(len(self.person)))]
        if self.varied:
            said = np.asarray(soxr.resample(said, chance.uniform(*_SPEEDS), 1.0))
        return said


@functools.cache
def shipped() -> Voices:
    """Return the voices that ship with the product."""
    replies = [_unit(clip(name) / 32768) for name in index()["replies"]]
    utterances = range(len(index()["person"]["utterances"]))
    said = [_unit(person(number) / 32768) for number in utterances]
    # The person also says what the assistant never says in a room.
    said += [_unit(clip(name) / 32768) for name in ("stopped", "stopped-unheard", "onward")]
    return Voices(replies, said, varied=True)


@functools.cache
def recorded(directory: Path) -> Voices:
    """Return the voices of the WAV and FLAC files in a directory.

    Every second file, in the order of their names, is the assistant's.
    """
    files = sorted(p for p in directory.rglob("*") if p.suffix.lower() in {".wav", ".flac"})
    sounds = [_read(path) for path in files]
    said = [sentence for sound in sounds[1::2] for sentence in sentences(sound)]
    if not said:
        low, high = SENTENCE_S
        raise NoVoicesError(
            f"{directory}: needs at least two WAV or FLAC files, the second with a sentence of"
            f" {low:g} to {high:g} s"
        )
    return Voices([_unit(sound) for sound in sounds[::2]], said, varied=False)


def sentences(sound: Sound) -> list[Sound]:
    """Return the pieces of a recording that a person could interrupt with, cut at its pauses."""
    frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > _PAUSE * power.max(initial=0))
    if not len(loud):
        return []
    low, high = (round(seconds * RATE / _FRAME) for seconds in SENTENCE_S)
    # The frames after a pause, and those after the last sound before it.
    begins = [int(loud[0]), *(int(b) for a, b in pairwise(loud) if b - a > _PAUSE_FRAMES)]
    ends = [*(int(a) + 1 for a, b in pairwise(loud) if b - a > _PAUSE_FRAMES), int(loud[-1]) + 1]
    found: list[Sound] = []
    begin = begins[0]
    for after, end in zip([*begins[1:], ends[-1]], ends, strict=True):
        if end - begin >= low:
            found.append(_unit(frames[begin : min(end, begin + high)].reshape(-1)))
            begin = after
    return found


def _read(path: Path) -> Sound:
    sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return np.asarray(soxr.resample(sound.mean(axis=1), rate, RATE), np.float64)


def _unit(sound: Sound) -> Sound:
    return np.asarray(sound / active_rms(sound), np.float64)
