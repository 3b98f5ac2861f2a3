"""Compares the output of a system with the case that it ran."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.acoustics import scores
from harness.acoustics.cases import Case
from harness.acoustics.rendering import Rendered
from harness.acoustics.responses import Sound, decibels
from harness.driving import BEGIN_NS, GRACE, Detections
from shared.audio import pcm

#: The removed echo counts from this long after the first reply's beginning, s.
SETTLED_S = 2.0
#: An echo can be heard from this much above the noise on, dB.
_AUDIBLE_DB = 6.0
#: A drift is learnt when the aligner is off by no more than this, or by a tenth of the drift.
LEARNT_PPM = 20.0


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


@dataclass
class Output:
    """The results of one system in a case."""

    clean: Sound
    heard: Detections
    interruptions: list[int]  # the client's
    raw: list[int] = field(default_factory=list)  # positions of frames that were passed unchanged
    steps: list[tuple[int, float]] = field(default_factory=list)  # position, the aligner's step
    spent: float = 0.0


def judged(rendered: Rendered, output: Output, *, scored: bool = True) -> Result:
    """Compare a system's output with the case that it ran. ``scored``: rate the voice too."""
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


def learnt_s(case: Case, steps: list[tuple[int, float]]) -> float | None:
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
