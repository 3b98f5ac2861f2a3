"""Renders a case: the sound for the speaker, and the sound in the microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from harness.acoustics.cases import Case
from harness.acoustics.responses import (
    Sound,
    active_rms,
    convolved,
    delayed,
    faded,
    fitted,
    level,
    reverb_time,
)
from harness.acoustics.shoebox import Room
from harness.acoustics.voices import Voices
from shared.audio.pcm import RATE

#: The person's voice begins where it first comes within 30 dB of its peak.
ONSET = 10 ** (-30 / 20)
#: The shortest and the longest pause in the far end, and time between two pauses, s.
_PAUSE_S, _BETWEEN_S = (0.15, 0.6), (1.5, 3.5)
#: The person begins this long after the end of a pause, s.
_AFTER_PAUSE_S = 0.5
#: With ``answers``: how long after the person's beginning a reply is cut, and how long after that
#: the next one begins, s: the person ends the sentence, and the model answers.
_CUT_S, _ANSWER_S = 0.7, 4.0
#: The leveller's time constants, s, and the level to which it brings all sound, RMS.
_ATTACK_S, _RELEASE_S = 0.03, 0.8
#: The period in which the slow gain control goes up and down once, s.
_AGC_S = 16.0
#: A small speaker plays nothing below this frequency, Hz.
_SMALL_HZ = 300.0
#: How much of the reflections' energy a person who walks about changes.
_CHANGED = 0.3
#: For how long a person stays in one place, s.
_STAYS_S = 1.5


@dataclass(frozen=True)
class Rendered:
    """A rendered case. Samples at 24 kHz, full scale 1."""

    case: Case
    far: Sound  # given to the speaker
    microphone: Sound
    person: Sound  # the person alone, in the microphone
    ideal: Sound  # the microphone, had the speaker been silent
    echo: Sound  # the echo alone
    spoken: list[tuple[int, int]]  # when the person speaks: begin and end, samples
    reverb_s: float  # measured
    gain_db: float  # measured: the echo relative to the far end


def render(case: Case, room: Room, voices: Voices, chance: np.random.Generator) -> Rendered:
    """Return the rendered case."""
    length = round(case.seconds * RATE)
    far = _far(case, voices, chance, length)
    response = fitted(room.echo, case.reverb_s)
    path = delayed(response, case.delay_ms)
    scale = level(case.echo_dbfs) / active_rms(convolved(far, path))
    played = _played(case, far)
    echo = convolved(played, path * scale)
    if case.jump_ms:
        half = length // 2
        echo[half:] = np.roll(echo, round(case.jump_ms * RATE / 1000))[half:]
    if case.moves:
        other = delayed(fitted(room.elsewhere, case.reverb_s), case.delay_ms)
        echo = _moving(echo, convolved(played, other * scale), chance)
    person, spoken = _person(case, room, voices, chance, length)
    noise = _noise(case, chance, length)
    gain = level(1.0) ** (case.agc_db * np.sin(2 * np.pi * np.arange(length) / (_AGC_S * RATE)))
    quiet = person + noise
    parts = [np.clip((echo + quiet) * gain, -1, 1), person * gain, np.clip(quiet * gain, -1, 1)]
    parts.append(echo * gain)
    if case.drift_ppm:
        ratio = 1 - case.drift_ppm * 1e-6
        parts = [np.asarray(soxr.resample(part, 1.0, ratio, "VHQ"))[:length] for part in parts]
        spoken = [(round(begin * ratio), round(end * ratio)) for begin, end in spoken]
    measured = 20 * np.log10(active_rms(convolved(far, path * scale)) / active_rms(far))
    return Rendered(
        case, far, parts[0], parts[1], parts[2], parts[3], spoken, reverb_time(path), measured
    )


def _far(case: Case, voices: Voices, chance: np.random.Generator, length: int) -> Sound:
    far = np.zeros(length)
    begin = round(case.reply_s * RATE)
    far[begin:] = voices.reply(chance, length - begin)
    silences = _pauses(case, chance) if case.pauses else []
    if case.answers:
        silences += [(at + _CUT_S, at + _CUT_S + _ANSWER_S) for at in case.starts]
    for first, end in silences:
        far[round(first * RATE) : round(end * RATE)] = 0
    return far * (level(case.far_dbfs) / active_rms(far))


def _pauses(case: Case, chance: np.random.Generator) -> list[tuple[float, float]]:
    """Return pauses, begin and end, s: one before each of the person's sentences, and others."""
    before = [at - _AFTER_PAUSE_S for at in case.starts]
    found = [(end - chance.uniform(0.3, _PAUSE_S[1]), end) for end in before]
    at = case.reply_s + chance.uniform(*_BETWEEN_S)
    while at < case.seconds:
        end = at + chance.uniform(*_PAUSE_S)
        if all(end < start - 1.5 or at > start + 1.0 for start in case.starts):
            found.append((at, end))
        at = end + chance.uniform(*_BETWEEN_S)
    return found


def _played(case: Case, far: Sound) -> Sound:
    """Return the movement of the speaker's membrane."""
    played = far
    if case.leveller:
        played = levelled(played)
    for begin, more_db in case.volume:
        played = played.copy()
        played[round(begin * RATE) :] *= level(more_db)
    if case.drive:
        peak = np.abs(played).max()
        played = np.tanh(played / peak * case.drive) * peak / case.drive
    if case.small:
        size = 1 << len(played).bit_length()
        hz = np.fft.rfftfreq(size, 1 / RATE)
        # A closed box: second order below its resonance.
        shape = (hz / _SMALL_HZ) ** 2 / np.sqrt(1 + (hz / _SMALL_HZ) ** 4)
        played = np.asarray(np.fft.irfft(np.fft.rfft(played, size) * shape)[: len(played)])
    return played


def levelled(sound: Sound) -> Sound:
    """Return a sound whose loudness was evened out: 2:1, block by block of 5 ms."""
    block = RATE // 200
    whole = sound[: len(sound) // block * block].reshape(-1, block)
    loud = np.sqrt(np.square(whole).mean(axis=1)) + level(-60)
    reference = active_rms(sound)
    follows = np.empty(len(loud))
    now = reference
    for number, one in enumerate(loud):
        constant = _ATTACK_S if one > now else _RELEASE_S
        now += (one - now) * min(1.0, block / RATE / constant)
        follows[number] = now
    gain = np.clip(np.sqrt(reference / follows), level(-9), level(9))
    at = np.arange(len(sound)) / block
    return np.asarray(sound * np.interp(at, np.arange(len(gain)) + 0.5, gain), np.float64)


def _moving(echo: Sound, other: Sound, chance: np.random.Generator) -> Sound:
    """Return an echo whose reflections change to and fro, as by someone who walks about."""
    turns = np.linspace(0, len(echo) / (_STAYS_S * RATE) * np.pi, len(echo))
    share = np.sqrt(_CHANGED) * 0.5 * (1 - np.cos(turns + chance.uniform(0, 0.3)))
    return np.asarray(echo * np.sqrt(1 - share**2) + other * share, np.float64)


def _person(
    case: Case, room: Room, voices: Voices, chance: np.random.Generator, length: int
) -> tuple[Sound, list[tuple[int, int]]]:
    """Return the person in the microphone, and when they speak."""
    person = np.zeros(length)
    spoken: list[tuple[int, int]] = []
    responses = [fitted(one, case.reverb_s) for one in room.people]
    longest = max(map(len, responses))
    for begin in case.starts:
        said = voices.sentence(chance)
        line = np.concatenate((said, np.zeros(longest)))
        if case.moves:
            at = np.arange(len(line)) / (_STAYS_S * RATE)
            heard = faded([convolved(line, one) for one in responses], np.minimum(at, 2))
        else:
            heard = convolved(line, responses[len(spoken) % len(responses)])
        heard *= level(case.person_dbfs) / active_rms(heard[: len(said)])
        first = round(begin * RATE)
        room_left = min(len(heard), length - first)
        person[first : first + room_left] += heard[:room_left]
        loud = np.flatnonzero(np.abs(heard) > ONSET * np.abs(heard).max())
        spoken.append((first + int(loud[0]), min(length, first + len(said))))
    return person, spoken


def _noise(case: Case, chance: np.random.Generator, length: int) -> Sound:
    """Return the room's noise: white, or falling by 3 dB an octave, and the mains' hum."""
    noise = chance.standard_normal(length)
    if chance.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.maximum(1, np.arange(1, len(spectrum)) * RATE / length / 100))
        noise = np.fft.irfft(spectrum, length)
    noise *= level(case.noise_dbfs) / np.sqrt(np.square(noise).mean())
    if case.hum_dbfs is not None:
        at = np.arange(length) / RATE
        mains = chance.choice([50.0, 60.0]) * (1 + 2e-4 * chance.standard_normal())
        hum = sum(np.sin(2 * np.pi * mains * n * at + n) / n for n in (1, 2, 3, 4, 6, 8))
        noise += hum * (level(case.hum_dbfs) / np.sqrt(np.square(hum).mean()))
    return noise
