"""Twenty synthetic sounds that must not interrupt: coughs, knocks, "mm-hm", things that fall.

A person's sounds are a voice's pulses and breath through the resonances of a throat. Those of
things are blows and the ringing after them. Each seed makes them a little higher, longer or
rougher. Samples are at 24 kHz. A noise's level is relative to a person who speaks (RMS of each
while it sounds).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.audio.pcm import RATE

Sound = NDArray[np.float64]
#: A resonance: its frequency (Hz), width (Hz) and strength.
Resonance = tuple[float, float, float]

_MOUTH_OPEN: Sequence[Resonance] = ((660, 90, 1.0), (1200, 110, 0.6), (2450, 170, 0.25))
_MOUTH_HALF: Sequence[Resonance] = ((500, 80, 1.0), (1500, 120, 0.5), (2500, 170, 0.25))
_MOUTH_SHUT: Sequence[Resonance] = ((250, 60, 1.0), (1050, 200, 0.12), (2200, 250, 0.08))
_THROAT: Sequence[Resonance] = ((450, 150, 1.0), (1100, 250, 0.7), (2600, 400, 0.5))
_BREATH: Sequence[Resonance] = ((900, 500, 1.0), (1700, 700, 0.8), (3600, 1500, 0.6))


@dataclass(frozen=True)
class Noise:
    """One noise."""

    name: str
    voice: bool  # made by a person, not by a thing
    sound: Sound  # its level, where a person's voice is 1


def noises(seed: int = 0) -> list[Noise]:
    """Return the twenty noises. Each lasts less than half a second."""
    makers: list[tuple[str, float, Callable[[_Maker], Sound]]] = [
        # with the level of each relative to the person's voice, dB
        ("mm-hm", -2, lambda it: it.hummed(0.11, 0.16, 118, 100, 135)),
        ("uh-huh", -1, lambda it: it.said(0.11, 0.15, 115, 105, 140)),
        ("mm", -3, lambda it: it.hum(0.30, 125, 105)),
        ("ah", 0, lambda it: it.vowel(0.28, 140, 110, _MOUTH_OPEN)),
        ("oh", 0, lambda it: it.vowel(0.30, 150, 105, _MOUTH_HALF)),
        ("cough", 5, lambda it: it.cough(0.16)),
        ("dry cough", 4, lambda it: it.cough(0.04)),
        ("two coughs", 5, lambda it: it.after(it.cough(0.03), 0.03, it.cough(0.02))),
        ("throat cleared", 0, lambda it: it.rasp(0.32)),
        ("laugh", 1, lambda it: it.after(it.ha(0.09), 0.03, it.ha(0.09))),
        ("sigh", -5, lambda it: it.breath(0.36)),
        ("sneeze", 6, lambda it: it.after(it.ha(0.10), 0.02, it.burst(0.22, _BREATH))),
        ("knock", 4, lambda it: it.blows([0.0], (160, 330, 520), 0.03)),
        ("three knocks", 0, lambda it: it.blows([0.0, 0.15, 0.30], (170, 350, 540), 0.025)),
        ("door", 4, lambda it: it.blows([0.0, 0.05], (60, 110, 190, 410), 0.08)),
        ("claps", -1, lambda it: it.blows([0.0, 0.22], (1100, 1700, 2600), 0.008)),
        ("keys", -7, lambda it: it.blows(it.scattered(6, 0.42), (2100, 3600, 5200), 0.004)),
        ("thing that falls", -1, lambda it: it.blows([0, 0.19, 0.3, 0.36], (1900, 3300), 0.02)),
        ("cup", 0, lambda it: it.blows([0.0, 0.09], (1850, 4200, 6300), 0.09)),
        ("chair", 2, lambda it: it.scrape(0.30)),
    ]
    made = []
    for number, (name, level_db, make) in enumerate(makers):
        sound = make(_Maker(np.random.default_rng([seed, number])))
        loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
        sound = sound[loud[0] : loud[-1] + 1]
        sound *= 10 ** (level_db / 20) / np.sqrt(np.square(sound).mean())
        made.append(Noise(name, number < 12, sound))
    return made


class _Maker:
    """Makes sounds from one random generator."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._chance = chance
        self._pitch = chance.uniform(0.8, 1.7)  # from a man's to a woman's, Hz
        self._slow = chance.uniform(0.9, 1.1)

    # sounds of a person

    def vowel(
        self, seconds: float, begin_hz: float, end_hz: float, mouth: Sequence[Resonance]
    ) -> Sound:
        """Return a voice: pulses through the resonances of a mouth."""
        length = self._length(seconds)
        pitch = np.linspace(begin_hz, end_hz, length) * self._pitch
        # A voice is never steady: its pitch wavers by some percent.
        pitch *= 1 + 0.02 * np.repeat(self._chance.standard_normal(length // 240 + 1), 240)[:length]
        turns = np.cumsum(pitch) / RATE
        pulses = np.zeros(length)
        for harmonic in range(1, int(5000 / pitch.max())):
            pulses += np.sin(2 * np.pi * harmonic * turns) / harmonic
        breath = 0.05 * self._chance.standard_normal(length)
        return _swelling(_through(pulses + breath, mouth), 0.02, 0.06)

    def hum(self, seconds: float, begin_hz: float, end_hz: float) -> Sound:
        """Return a hum: a voice with the mouth shut."""
        return self.vowel(seconds, begin_hz, end_hz, _MOUTH_SHUT)

    def hummed(self, one: float, two: float, high: float, low: float, end: float) -> Sound:
        """Return "mm-hm": two hums with a breath through the nose between them."""
        breath = 0.15 * _through(self._white(0.05), _MOUTH_SHUT)
        return self.joined(self.hum(one, high, low), breath, self.hum(two, low, end))

    def said(self, one: float, two: float, high: float, low: float, end: float) -> Sound:
        """Return "uh-huh": two vowels."""
        first = self.vowel(one, high, low, _MOUTH_HALF)
        breath = 0.2 * _through(self._white(0.05), _BREATH)
        return self.joined(first, breath, self.vowel(two, low, end, _MOUTH_OPEN))

    def cough(self, voiced: float) -> Sound:
        """Return a cough: the throat bursts open, breath follows, and then often a voice."""
        opening = 3 * self.burst(0.05, _THROAT)
        breath = _swelling(_through(self._white(0.12), _THROAT), 0.005, 0.04)
        return self.joined(opening, breath, self.vowel(voiced, 190, 130, _MOUTH_HALF))

    def rasp(self, seconds: float) -> Sound:
        """Return a cleared throat: a deep, broken voice with breath."""
        voice = self.vowel(seconds, 85, 70, _THROAT)
        at = np.arange(len(voice)) / RATE
        broken = voice * (0.55 + 0.45 * np.sin(2 * np.pi * 27 * self._slow * at))
        return (
            broken + 0.3 * _swelling(_through(self._white(seconds), _THROAT), 0.03, 0.1)[: len(at)]
        )

    def ha(self, seconds: float) -> Sound:
        """Return a breath and a vowel that falls."""
        return self.joined(
            0.3 * _swelling(_through(self._white(0.05), _BREATH), 0.02, 0.01),
            self.vowel(seconds, 220, 160, _MOUTH_OPEN),
        )

    def breath(self, seconds: float) -> Sound:
        """Return a breath out."""
        return _swelling(_through(self._white(seconds), _BREATH), 0.08, 0.25)

    def burst(self, seconds: float, through: Sequence[Resonance]) -> Sound:
        """Return a breath that starts at once and dies away."""
        sound = _through(self._white(seconds), through)
        return sound * np.exp(-4 * np.arange(len(sound)) / len(sound))

    # sounds of things

    def blows(self, at_s: Sequence[float], rings_hz: Sequence[float], dies_s: float) -> Sound:
        """Return blows, each a little softer, and their ringing."""
        ring = np.arange(int((7 * dies_s + 0.02) * RATE)) / RATE
        whole = np.zeros(int(max(at_s) * RATE * self._slow) + len(ring))
        for number, begin_s in enumerate(at_s):
            sound = np.zeros(len(ring))
            for order, hz in enumerate(rings_hz):
                tuned = hz * self._pitch * self._chance.uniform(0.97, 1.03)
                dying = np.exp(-ring * (1 + 0.5 * order) / dies_s)
                sound += dying * np.sin(2 * np.pi * tuned * ring) / (1 + 0.4 * order)
            click = int(0.004 * RATE)
            sound[:click] += self._chance.standard_normal(click) * np.linspace(1.5, 0, click)
            at = int(begin_s * RATE * self._slow)
            whole[at : at + len(ring)] += sound * 0.8**number
        return whole

    def scattered(self, count: int, within_s: float) -> list[float]:
        """Return the irregular times of tapping fingers, s."""
        steps = self._chance.uniform(0.6, 1.4, count)
        return list((np.cumsum(steps) - steps[0]) / steps.sum() * within_s)

    def scrape(self, seconds: float) -> Sound:
        """Return a chair that scrapes: its legs stick and slip in pulses like a voice's."""
        return self.vowel(seconds, 190, 240, ((820, 60, 1.0), (1650, 80, 0.9), (2900, 150, 0.8)))

    # combinations

    def joined(self, *sounds: Sound) -> Sound:
        """Return sounds one after the other, at their own levels."""
        return np.concatenate(sounds)

    def after(self, first: Sound, pause_s: float, second: Sound) -> Sound:
        """Return two sounds with a pause between them."""
        return self.joined(first, np.zeros(int(pause_s * RATE)), second)

    def _white(self, seconds: float) -> Sound:
        return self._chance.standard_normal(self._length(seconds))

    def _length(self, seconds: float) -> int:
        return int(seconds * self._slow * RATE)


def _through(sound: Sound, resonances: Sequence[Resonance]) -> Sound:
    """Return a sound filtered by resonances, RMS 1."""
    size = 1 << (len(sound) + RATE // 10).bit_length()
    hz = np.fft.rfftfreq(size, 1 / RATE)
    way = np.zeros(len(hz), np.complex128)
    for at, width, strength in resonances:
        way += strength * at * width / (at**2 - hz**2 + 1j * width * hz)
    out = np.fft.irfft(np.fft.rfft(sound, size) * way)[: len(sound)]
    return np.asarray(out / np.sqrt(np.square(out).mean()), np.float64)


def _swelling(sound: Sound, rise_s: float, fall_s: float) -> Sound:
    """Return a sound with a fade-in and a fade-out within its length."""
    at = np.arange(len(sound)) / RATE
    shape = np.minimum(1, np.minimum(at / rise_s, at[::-1] / fall_s))
    return sound * np.sin(0.5 * np.pi * shape)
