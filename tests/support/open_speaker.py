"""An open speaker made by arithmetic, and the path of its frames through aligner and canceller.

The levels of a scene are given one by one (dBFS, RMS while there is sound), so that a test can name
the relation on which it depends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import soxr

from harness import room, rooms
from harness.acoustics import responses
from harness.rooms import Rendered, Scene, Sound
from services.echo.aligner import Aligner
from services.echo.canceller import Canceller
from services.vad.voice import Voice
from shared import messages
from shared.audio import pcm
from shared.audio.silero import Silero

RATE, FRAME = pcm.RATE, pcm.FRAME
SOUND_M_S = 343.0


def shoebox(
    reverb_s: float,
    *,
    size: tuple[float, float, float] = (5.0, 4.0, 2.7),
    apart: float = 0.5,
    seed: int = 0,
) -> Sound:
    """Return the response of a room with flat walls (m), by the image method.

    Speaker and microphone stand ``apart`` metres from each other, at random. The direct sound is 1.
    """
    chance = np.random.default_rng(seed)
    walls = np.array(size)
    speaker = walls * chance.uniform(0.35, 0.65, 3)
    towards = chance.standard_normal(3)
    microphone = speaker + apart * towards / np.linalg.norm(towards)
    volume, surface = walls.prod(), 2 * (walls.prod() / walls).sum()
    # Eyring's formula: the walls reflect so much that the sound falls by 60 dB in ``reverb_s``.
    reflected = np.exp(-0.161 * volume / (surface * reverb_s) / 2)
    furthest = SOUND_M_S * reverb_s
    line, order = [], []
    for wall, source, ear in zip(walls, speaker, microphone, strict=True):
        n = np.arange(-int(furthest / (2 * wall)) - 1, int(furthest / (2 * wall)) + 2)
        line.append(np.concatenate((2 * n * wall + source - ear, 2 * n * wall - source - ear)))
        order.append(np.concatenate((np.abs(2 * n), np.abs(2 * n - 1))))
    far = np.sqrt(sum(np.square(d) for d in np.ix_(*line)))
    gain = apart * reflected ** sum(np.ix_(*order)) / far
    at = np.rint((far - apart) / SOUND_M_S * RATE).astype(int)
    heard = at < reverb_s * RATE
    return np.bincount(at[heard], gain[heard]).astype(np.float64)


@dataclass(frozen=True)
class Says:
    """Somebody speaks: which of the voices, from when on (s), how loud."""

    number: int
    at_s: float
    dbfs: float


def scene(
    *,
    seconds: float,
    far_dbfs: float = -22.0,
    echo_dbfs: float | None = None,  # None: headphones
    delay_ms: float = 60.0,
    response: Sound | None = None,  # of the room; None: reverberation of 0.4 s
    noise_dbfs: float = -63.0,
    says: tuple[Says, ...] = (),
    begins_s: float = 1.0,
    pauses: tuple[tuple[float, float], ...] = (),  # s: the far end is silent from, to
    drift_ppm: float = 0.0,
    seed: int = 0,
) -> Rendered:
    """Return a scene: the far end begins at ``begins_s``."""
    chance = np.random.default_rng(seed)
    length, begins = round(seconds * RATE), round(begins_s * RATE)
    far = np.zeros(length)
    voice = rooms.assistant(length - begins, seed)
    far[begins:] = voice * responses.level(far_dbfs) / responses.active_rms(voice)
    for begin, end in pauses:
        far[round(begin * RATE) : round(end * RATE)] = 0
    microphone = chance.standard_normal(length) * responses.level(noise_dbfs)
    if response is None:
        response = rooms.response(chance, 0.4, 0)
    if echo_dbfs is not None:
        delayed = np.concatenate((np.zeros(round(delay_ms * RATE / 1000)), response))
        echo = responses.convolved(far, delayed)
        microphone += echo * responses.level(echo_dbfs) / responses.active_rms(echo)
    near, spoken = np.zeros(length), []
    for who in says:
        words = rooms.person(who.number) * responses.level(who.dbfs)
        loud = np.flatnonzero(np.abs(words) > rooms.ONSET * np.abs(words).max())
        words = words[loud[0] :]
        at = round(who.at_s * RATE)
        near[at : at + len(words)] += words[: length - at]
        spoken.append((at, min(length, at + len(words))))
    made = Scene("", 0.4, 0, delay_ms, drift_ppm=drift_ppm, seconds=seconds, seed=seed)
    microphone = np.clip(microphone + near, -1, 1)
    if drift_ppm:
        microphone = soxr.resample(microphone, 1.0, 1 - drift_ppm * 1e-6, "VHQ")[:length]
        microphone = np.pad(microphone, (0, length - len(microphone)))
    return Rendered(made, far, near, microphone, spoken)


@dataclass
class Outcome:
    """The result of a scene."""

    canceller: Canceller
    aligner: Aligner
    rendered: Rendered
    clean: Sound  # full scale 1
    onsets: list[float] = field(default_factory=list)  # s of the audio at which vad knew
    passed: list[float] = field(default_factory=list)  # s at which the stage said "no echo"

    def removed_db(self, begin_s: float, end_s: float) -> float:
        """Return by how much the microphone was lowered between two times."""
        here = slice(round(begin_s * RATE), round(end_s * RATE))
        before, after = (
            responses.decibels(float(np.square(sound[here]).mean()))
            for sound in (self.rendered.microphone, self.clean)
        )
        return before - after

    def late_ms(self) -> list[float | None]:
        """Return for each time that somebody speaks how much later vad detected the voice."""
        found: list[float | None] = []
        for begin, end in self.rendered.spoken:
            mine = [at for at in self.onsets if begin / RATE <= at <= end / RATE + 0.3]
            found.append(1000 * (mine[0] - begin / RATE) if mine else None)
        return found

    def false_onsets(self) -> list[float]:
        """Return the onsets while nobody speaks."""
        spoken = [(begin / RATE, end / RATE + 0.5) for begin, end in self.rendered.spoken]
        return [at for at in self.onsets if not any(b <= at <= e for b, e in spoken)]


def hear(rendered: Rendered) -> Outcome:
    """Run aligner, canceller and vad over a scene as the two stages do, from the first frame on."""
    aligner, canceller = Aligner(), Canceller(high_pass=True, noise_suppression=False)
    voice = Voice(Silero(), 0.5, 300)
    result = Outcome(canceller, aligner, rendered, np.zeros(len(rendered.microphone)))
    for now, message in room.frames(rendered, np.random.default_rng(rendered.scene.seed)):
        if isinstance(message, messages.SpeakerFrame):
            aligner.speaker(message, now)
        elif isinstance(message, messages.MicFrame):
            aligner.microphone(message)
        for aligned in aligner.take(now):
            clean = canceller.cancel(aligned, aligner)
            at = aligned.frame.position
            result.clean[at : at + FRAME] = pcm.to_array(clean) / 32768
            ends_s = (at + FRAME) / RATE
            if canceller.passes:
                result.passed.append(ends_s)
            changes = voice.take(clean, aligned.frame.captured_ns)
            result.onsets += [ends_s for change in changes if change.speaking]
    return result
