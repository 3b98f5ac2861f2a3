"""Simulated rooms: a loudspeaker, a microphone, a person, and two clocks.

A scene is rendered faster than real time, from the speech that ships with the emulator. The
assistant speaks all the time, and the person sometimes talks over it. Samples are at 24 kHz, full
scale is 1. Levels are RMS while someone speaks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import soxr
from numpy.typing import NDArray

from harness.acoustics.responses import active_rms, convolved, level
from harness.noises import noises
from harness.speech import clip, index
from services.emulator.options import VOICE
from shared.audio.pcm import RATE

Sound = NDArray[np.float64]

#: The person's level in the microphone: −26 dBFS.
NEAR_DBFS = -26.0
#: The person's voice begins where it first comes within 30 dB of its peak.
ONSET = 10 ** (-30 / 20)
#: In rooms with noises: when the noises begin and how often they come, s. People speak after them.
NOISES_S, EVERY_S, REST_S = 5.0, 1.8, 2.0


@dataclass(frozen=True)
class Scene:
    """A room, its devices and the people in it."""

    name: str
    reverb_s: float  # s, until the reverberation has fallen by 60 dB
    echo_db: float  # dB, the echo relative to the person
    delay_ms: float  # ms, delay that no time stamp states
    noise_dbfs: float = -65.0
    drift_ppm: float = 0.0  # ppm, drift of the microphone's clock
    jump_ms: float = 0.0  # ms, by which the delay jumps half-way
    drive: float = 0.0  # distortion of the speaker: 1 bends peaks, 3 squares them; 0: linear
    seconds: float = 120.0
    barge_ins: int = 4
    noises: bool = False  # whether twenty noises come first, which must not interrupt
    seed: int = 0

    @property
    def linear(self) -> bool:
        """Whether a linear filter can remove the echo at all times."""
        return not self.drive and not self.jump_ms


@dataclass(frozen=True)
class Rendered:
    """A rendered scene."""

    scene: Scene
    far: Sound  # samples given to the speaker
    near: Sound  # the person alone, in the microphone
    microphone: Sound
    spoken: list[tuple[int, int]] = field(
        default_factory=list
    )  # when the person speaks: begin and end, samples
    noises: list[tuple[int, int]] = field(default_factory=list)  # when noises sound, the same


def scenes(seed: int = 0) -> list[Scene]:
    """Return the rooms of the benchmark: half an hour of the assistant, sixty barge-ins."""
    plain = [
        Scene("study, speaker near", 0.2, -20, 20),
        Scene("study", 0.2, -10, 60),
        Scene("living room", 0.4, -5, 40),
        Scene("living room, loud", 0.4, 0, 120),
        Scene("living room, late", 0.4, -8, 250),
        Scene("kitchen", 0.6, -6, 80),
        Scene("kitchen, loud", 0.6, 0, 30),
        Scene("noisy kitchen", 0.6, -6, 100, noise_dbfs=-50),
        Scene("noisy study", 0.3, -3, 50, noise_dbfs=-48),
        Scene("two clocks", 0.3, -6, 70, drift_ppm=100),
        Scene("two clocks, loud", 0.4, 0, 150, drift_ppm=-100),
        Scene("delay jumps later", 0.3, -6, 60, jump_ms=80),
        Scene("delay jumps sooner", 0.4, -3, 180, jump_ms=-120),
        Scene("small speaker", 0.3, -6, 40, drive=1.0),
        Scene("bad speaker, loud", 0.4, 0, 60, drive=3.0),
    ]
    return [replace(scene, seed=seed + number) for number, scene in enumerate(plain)]


def noisy(seed: int = 0) -> list[Scene]:
    """Return rooms with twenty noises in each, and three barge-ins after them."""
    plain = [
        Scene("study, noises", 0.2, -10, 60),
        Scene("living room, noises", 0.4, -5, 40),
        Scene("loud, noises", 0.4, 0, 120),
        Scene("noise, noises", 0.6, -6, 100, noise_dbfs=-50),
        Scene("two clocks, noises", 0.3, -3, 70, drift_ppm=100),
        Scene("small speaker, noises", 0.3, -6, 40, drive=1.0),
    ]
    return [
        replace(scene, seconds=66.0, barge_ins=3, noises=True, seed=seed + 20 + number)
        for number, scene in enumerate(plain)
    ]


def render(scene: Scene) -> Rendered:
    """Return the rendered scene of a room."""
    chance = np.random.default_rng(scene.seed)
    length = int(scene.seconds * RATE)
    far = assistant(length, scene.seed)
    played = np.tanh(far * scene.drive) / scene.drive if scene.drive else far
    heard = convolved(played, response(chance, scene.reverb_s, scene.delay_ms))
    half, jump = length // 2, int(scene.jump_ms * RATE / 1000)
    echo = heard.copy()
    # A device buffer grew or shrank; the room stays the same.
    echo[half:] = np.roll(heard, jump)[half:]
    echo *= level(NEAR_DBFS + scene.echo_db) / active_rms(echo)
    near = np.zeros(length)
    spoken, sounded, begin_s = [], [], 8.0
    if scene.noises:
        for number, noise in enumerate(noises(scene.seed)):
            at = int((NOISES_S + EVERY_S * number + 0.2 * chance.uniform(-1, 1)) * RATE)
            near[at : at + len(noise.sound)] += noise.sound * level(NEAR_DBFS)
            sounded.append((at, at + len(noise.sound)))
        begin_s = NOISES_S + EVERY_S * len(sounded) + REST_S
    for number in range(scene.barge_ins):
        voice = person(number + 4 * scene.seed) * level(NEAR_DBFS)
        share = (number + 0.5 + 0.3 * chance.uniform(-1, 1)) / scene.barge_ins
        at = int((begin_s + share * (scene.seconds - 6 - begin_s)) * RATE)
        near[at : at + len(voice)] += voice
        loud = np.flatnonzero(np.abs(voice) > ONSET * np.abs(voice).max())
        spoken.append((at + int(loud[0]), at + len(voice)))
    hiss = chance.standard_normal(length) * level(scene.noise_dbfs)
    microphone = np.clip(echo + near + hiss, -1, 1)
    if scene.drift_ppm:
        # The microphone's clock drifts: each sample is taken a little sooner or later.
        microphone = soxr.resample(microphone, 1.0, 1 - scene.drift_ppm * 1e-6, "VHQ")[:length]
    return Rendered(scene, far, near, microphone, spoken, sounded)


def assistant(length: int, seed: int = 0) -> Sound:
    """Return the assistant's speech, clip after clip without added pauses."""
    names = list(index()["replies"])
    names = names[seed % len(names) :] + names[: seed % len(names)]
    parts: list[Sound] = []
    while sum(map(len, parts)) < length:
        parts.append(_clip(names[len(parts) % len(names)]))
    return np.concatenate(parts)[:length]


def person(number: int) -> Sound:
    """Return one of many sentences in one of many voices, at level 1 (RMS)."""
    said = _utterances()
    voice = said[number % len(said)]
    rate = 0.85 + 0.3 * ((number * 7) % 16) / 15
    voice = soxr.resample(voice, rate, 1.0)
    return np.asarray(voice / active_rms(voice), np.float64)


def response(chance: np.random.Generator, reverb_s: float, delay_ms: float) -> Sound:
    """Return an impulse response: direct sound, then reverberation with half its energy."""
    tail = np.arange(int(reverb_s * RATE))
    late = chance.standard_normal(len(tail)) * np.exp(-6.9 * tail / (reverb_s * RATE))
    late[: RATE * 3 // 1000] = 0
    late *= 10 ** (-3 / 20) / np.sqrt(np.square(late).sum())
    late[0] = 1.0
    return np.concatenate((np.zeros(int(delay_ms * RATE / 1000)), late))


@functools.cache
def _clip(name: str) -> Sound:
    return clip(name).astype(np.float64) / 32768


@functools.cache
def _utterances() -> Sequence[Sound]:
    import soundfile  # noqa: PLC0415 - needed only to render a scene

    sound, _ = soundfile.read(VOICE / index()["person"]["script"], dtype="float64")
    return [
        sound[u["start_ms"] * RATE // 1000 : u["end_ms"] * RATE // 1000]
        for u in index()["person"]["utterances"]
    ]
