"""Runs one case through Bargein, through WebRTC's canceller alone, and without any echo.

All three get the same frames at the same times, and the same detectors listen to them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.acoustics import shoebox, voices
from harness.acoustics.cases import Case
from harness.acoustics.judging import Output, Result, judged, learnt_s
from harness.acoustics.rendering import Rendered, render
from harness.acoustics.responses import Sound
from harness.driving import Detectors, frames
from services.echo.aligner import Aligned, Aligner
from services.echo.canceller import to_pcm
from services.echo.chain import Chain, cleaned
from services.echo.halfduplex import HalfDuplex
from services.echo.webrtc import Processing
from shared import config, messages
from shared.audio import pcm

#: A room is refused whose reverberation time or gain is off by more than this.
_REVERB_OFF, _GAIN_OFF_DB = 0.1, 0.5

_SILENCE = np.zeros(pcm.FRAME, np.float32)

BARGEIN, HALF, WEBRTC, IDEAL = "Bargein", "half duplex", "WebRTC alone", "no echo"
SYSTEMS = (BARGEIN, HALF, WEBRTC, IDEAL)


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
        learnt_s(case, bargein.steps),
        time.monotonic() - begun,
        rendered.reverb_s,
        rendered.gain_db,
    )


def _check(rendered: Rendered) -> None:
    """Refuse a room that is not as its case says."""
    case = rendered.case
    reverb_off = abs(rendered.reverb_s / case.reverb_s - 1)
    gain_off_db = abs(rendered.gain_db - case.gain_db)
    if not (reverb_off <= _REVERB_OFF and gain_off_db <= _GAIN_OFF_DB):  # nor if one is no number
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
) -> tuple[Output, Output | None]:
    """Drive a system with all frames; return its output, and that of half duplex behind it.

    Half duplex is computed for Bargein alone: the system whose ``aligner`` is given.
    """
    ears = [Detectors(settings) for _ in range(2 if aligner else 1)]
    made = [Output(np.zeros(len(microphone)), one.heard, one.client.interruptions) for one in ears]
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
