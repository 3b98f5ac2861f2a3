"""Runs one case through Bargein, through WebRTC's canceller alone, and without any echo.

All three get the same frames at the same times, and the same detectors listen to them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.acoustics import scores, shoebox, voices
from harness.acoustics.cases import Case
from harness.acoustics.rendering import Rendered, render
from harness.acoustics.responses import Sound, decibels
from harness.driving import BEGIN_NS, Detectors, Heard, frames
from services.echo.aligner import Aligned, Aligner
from services.echo.canceller import to_pcm
from services.echo.chain import Chain, cleaned
from services.echo.halfduplex import HalfDuplex
from services.echo.webrtc import Processing
from shared import config, messages
from shared.audio import pcm

#: A person who is detected this long after falling silent still counts as detected.
GRACE = pcm.RATE // 2
#: The echo that is removed counts from so long after the first reply's beginning on, s.
SETTLED_S = 2.0
#: An echo can be heard from this much above the noise on, dB.
_AUDIBLE_DB = 6.0
#: A room is refused whose reverberation time or gain is off by more than this.
_REVERB_OFF, _GAIN_OFF_DB = 0.1, 0.5
#: A drift is learnt when the aligner is off by no more than this, or by a tenth of the drift.
LEARNT_PPM = 20.0

_SILENCE = np.zeros(pcm.FRAME, np.float32)

BARGEIN, HALF, WEBRTC, IDEAL = "Bargein", "half duplex", "WebRTC alone", "no echo"
SYSTEMS = (BARGEIN, HALF, WEBRTC, IDEAL)


@dataclass(frozen=True)
class Result:
    """The results of one system in one case."""

    talk_overs: int
    local: list[float | None]  # ms from voice to vad's onset, of each talk-over; None: not detected
    server: list[bool]  # of each talk-over: whether the server's detector detected it
    false_onsets: int  # vad's, while nobody speaks
    self_interruptions: int  # the server's turns, while nobody speaks
    client: int  # talk-overs that interrupt with decide = "client"
    client_false: int  # interruptions by nobody with decide = "client"
    raw_s: float  # for how long the microphone was passed unchanged although the echo is in it
    unchanged: float  # the share of frames within talk-overs that were passed unchanged
    removed_db: float  # of the echo, from 2 s into the first reply on, while nobody speaks
    estoi: float | None = None
    echo_mos: float | None = None
    degradation_mos: float | None = None
    cpu: float = 0.0  # % of a core at real time


@dataclass(frozen=True)
class Trial:
    """All results of one case."""

    case: Case
    results: dict[str, Result]
    learnt_s: float | None  # when the drift was learnt, after the first reply began
    seconds: float  # what the trial took
    reverb_s: float  # measured
    gain_db: float  # measured


class System(Protocol):
    """The part between the microphone and the detectors."""

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None: ...

    def microphone(self, frame: messages.MicFrame) -> None: ...

    def take(self, now_ns: int) -> Iterator[tuple[Aligned, messages.MicClean]]: ...


class WebRTC:
    """WebRTC's canceller alone, on the far end that the aligner found."""

    def __init__(self, settings: config.Echo) -> None:
        self._aligner = Aligner()
        self._processing = Processing(
            echo_cancellation=True,
            high_pass=settings.high_pass,
            noise_suppression=settings.noise_suppression,
        )

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None:
        """Add a frame that the speaker was given."""
        self._aligner.speaker(frame, now_ns)

    def microphone(self, frame: messages.MicFrame) -> None:
        """Add a frame of the microphone."""
        self._aligner.microphone(frame)

    def take(self, now_ns: int) -> Iterator[tuple[Aligned, messages.MicClean]]:
        """Yield the frames whose far end has arrived, and the same without echo."""
        for aligned in self._aligner.take(now_ns):
            clean = self._processing.process(aligned.frame.payload, to_pcm(aligned.far))
            yield aligned, cleaned(aligned.frame, clean)


class Straight:
    """Nothing at all between the microphone and the detectors: for a microphone without echo."""

    def __init__(self) -> None:
        self._frames: list[messages.MicFrame] = []

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None:
        """Ignore what the speaker plays."""

    def microphone(self, frame: messages.MicFrame) -> None:
        """Add a frame of the microphone."""
        self._frames.append(frame)

    def take(self, now_ns: int) -> Iterator[tuple[Aligned, messages.MicClean]]:  # noqa: ARG002
        """Yield the frames as they are."""
        for frame in self._frames:
            yield Aligned(frame, _SILENCE, False), cleaned(frame, frame.payload)
        self._frames.clear()


@dataclass
class _Output:
    """The results of one system in a case."""

    clean: Sound
    heard: Heard
    interruptions: list[int]  # the client's
    raw: list[int] = field(default_factory=list)  # positions of frames that were passed unchanged
    steps: list[tuple[int, float]] = field(default_factory=list)  # position, the aligner's step
    spent: float = 0.0


def run(case: Case, settings: config.Config, directory: Path | None = None) -> Trial:
    """Run one case; return its results."""
    begun = time.monotonic()
    chance = case.chance
    room = shoebox.room(chance, case.reverb_s, case.distance_m, bent=case.bent)
    spoken = voices.recorded(directory) if directory else voices.shipped()
    rendered = render(case, room, spoken, chance)
    _check(rendered)
    chain = Chain(settings.echo)
    bargein, half = _drive(rendered, rendered.microphone, chain, settings, chain.aligner)
    outputs = {
        BARGEIN: bargein,
        HALF: half,
        WEBRTC: _drive(rendered, rendered.microphone, WebRTC(settings.echo), settings)[0],
        IDEAL: _drive(rendered, rendered.ideal, Straight(), settings)[0],
    }
    results = {
        name: judged(rendered, output, scored=name != HALF)
        for name, output in outputs.items()
        if output
    }
    return Trial(
        case,
        results,
        _learnt_s(case, bargein.steps),
        time.monotonic() - begun,
        rendered.reverb_s,
        rendered.gain_db,
    )


def _check(rendered: Rendered) -> None:
    """Refuse a room that is not as its case says."""
    case = rendered.case
    if abs(rendered.reverb_s / case.reverb_s - 1) > _REVERB_OFF or (
        abs(rendered.gain_db - case.gain_db) > _GAIN_OFF_DB
    ):
        raise RuntimeError(
            f"{case.row}, {case.name}: the room has an RT60 of {rendered.reverb_s:.2f} s, wanted"
            f" {case.reverb_s:g} s, and a gain of {rendered.gain_db:.1f} dB, wanted"
            f" {case.gain_db:g} dB"
        )


def _drive(
    rendered: Rendered,
    microphone: Sound,
    system: System,
    settings: config.Config,
    aligner: Aligner | None = None,
) -> tuple[_Output, _Output | None]:
    """Drive a system with all frames; return its output, and that of half duplex behind it.

    Half duplex is computed for Bargein alone: the system whose ``aligner`` is given.
    """
    ears = [Detectors(settings) for _ in range(2 if aligner else 1)]
    made = [_Output(np.zeros(len(microphone)), one.heard, one.client.interruptions) for one in ears]
    half = HalfDuplex(settings.echo.hangover_ms)
    case = rendered.case
    chance = np.random.default_rng(case.seed)
    for now, message in frames(rendered.far, microphone, case.drift_ppm, chance):
        begun = time.process_time()
        if isinstance(message, messages.SpeakerFrame):
            system.speaker(message, now)
        elif isinstance(message, messages.MicFrame):
            system.microphone(message)
        taken = list(system.take(now))
        made[0].spent += time.process_time() - begun
        for aligned, clean in taken:
            if clean.payload == aligned.frame.payload:
                made[0].raw.append(clean.position)
            published_frames = [clean]
            if aligner is not None:
                made[0].steps.append((clean.position, aligner.step))
                muted = half.apply(clean.payload, aligned.far)
                published_frames.append(cleaned(aligned.frame, muted))
            for output, one, frame in zip(made, ears, published_frames, strict=True):
                here = slice(frame.position, frame.position + pcm.FRAME)
                output.clean[here] = np.frombuffer(frame.payload, np.int16) / 32768
                one.vad(frame, now)
                one.server(frame, now)
    return made[0], made[1] if aligner else None


def judged(rendered: Rendered, output: _Output, *, scored: bool = True) -> Result:
    """Compare what a system made of a case with the case. ``scored``: rate the voice too."""
    case, spoken, heard = rendered.case, rendered.spoken, output.heard
    local: list[float | None] = []
    server: list[bool] = []
    for begin, end in spoken:
        mine = [known for at, known in heard.onsets if begin <= at <= end + GRACE]
        voice_ns = BEGIN_NS + begin * 1e9 / pcm.RATE / (1 - case.drift_ppm * 1e-6)
        local.append((mine[0] - voice_ns) / 1e6 if mine else None)
        server.append(any(begin <= at <= end + GRACE for at in heard.turns))

    def nobody(at: int) -> bool:
        return not any(begin <= at <= end + GRACE for begin, end in spoken)

    estoi = echo_mos = degradation_mos = None
    if scored:
        estoi = scores.intelligibility(rendered.person, output.clean, spoken)
        echo_mos, degradation_mos = _rated(rendered, output.clean)
    return Result(
        len(spoken),
        local,
        server,
        sum(nobody(at) for at, _ in heard.onsets),
        sum(nobody(at) for at in heard.turns),
        sum(
            any(begin <= at <= end + GRACE for at in output.interruptions) for begin, end in spoken
        ),
        sum(nobody(at) for at in output.interruptions),
        _raw_s(rendered, output.raw),
        _unchanged(rendered, output.raw),
        _removed_db(rendered, output.clean),
        estoi,
        echo_mos,
        degradation_mos,
        100 * output.spent / case.seconds,
    )


def _raw_s(rendered: Rendered, raw: list[int]) -> float:
    """Return for how many seconds frames with an audible echo were passed unchanged."""
    least = 10 ** ((rendered.case.noise_dbfs + _AUDIBLE_DB) / 10)
    frames_with_echo = sum(
        float(np.square(rendered.echo[at : at + pcm.FRAME]).mean()) > least for at in raw
    )
    return frames_with_echo * pcm.FRAME / pcm.RATE


def _unchanged(rendered: Rendered, raw: list[int]) -> float:
    """Return the share of frames within talk-overs that were passed unchanged."""
    total = sum((end - begin) // pcm.FRAME for begin, end in rendered.spoken)
    inside = sum(any(begin <= at < end for begin, end in rendered.spoken) for at in raw)
    return min(1.0, inside / total) if total else 0.0


def _removed_db(rendered: Rendered, clean: Sound) -> float:
    alone = np.zeros(len(clean), bool)
    alone[round((rendered.case.reply_s + SETTLED_S) * pcm.RATE) :] = True
    for begin, end in rendered.spoken:
        alone[max(0, begin - pcm.RATE // 10) : end + GRACE] = False
    if not alone.any():
        return float("nan")
    before = decibels(float(np.square(rendered.microphone[alone]).mean()))
    return before - decibels(float(np.square(clean[alone]).mean()))


def _rated(rendered: Rendered, clean: Sound) -> tuple[float | None, float | None]:
    """Return AECMOS's scores of the pieces of 10 s in which the person speaks."""
    rate = scores.aecmos()
    length = round(scores.MOS_PIECE_S * pcm.RATE)
    found = []
    for first in range(length, len(clean) - length + 1, length):
        inside = any(first <= begin and end <= first + length for begin, end in rendered.spoken)
        if rate is not None and inside:
            here = slice(first, first + length)
            found.append(rate(rendered.far[here], rendered.microphone[here], clean[here]))
    if not found:
        return None, None
    echo, degradation = np.mean(found, axis=0)
    return float(echo), float(degradation)


def _learnt_s(case: Case, steps: list[tuple[int, float]]) -> float | None:
    """Return when the aligner followed the drift for good, s after the first reply began.

    Return None if it never did, and 0 where there is no drift.
    """
    if not case.drift_ppm:
        return 0.0
    true = 1e6 * (1 / (1 - case.drift_ppm * 1e-6) - 1)
    slack = max(LEARNT_PPM, 0.1 * abs(true))
    off = [at for at, step in steps if abs((step - 1) * 1e6 - true) > slack]
    if not off:
        return 0.0
    if off[-1] == steps[-1][0]:
        return None
    return max(0.0, off[-1] / pcm.RATE - case.reply_s)
