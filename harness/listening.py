"""What a recording of the speaker says of an interruption: when it fell silent, and where.

A reply is the rising tone, so what was heard last tells how far the reply was heard. The pitch
alone would tell it to some ms; because the sound server changes no sample, the last stretch before
the silence is looked up in the tone itself, which tells it to the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness import speech
from harness.pulse import RATE, Samples
from services.emulator.tone import Tone

#: Up to here a sample is silence; the tone's peak is 10,000.
QUIET = 8
#: A silence is longer than the gap that a busy machine makes.
GAP = RATE * 25 // 1000
#: How far the recording's clock may be off.
CLOCK = RATE * 3 // 1000
#: In sound there is no longer silence than between two halves of a wave: the lowest has 300 Hz.
CROSSING = RATE * 2 // 1000
#: So much before the silence may be a fade, and fits nowhere.
FADE = RATE * 4 // 1000
#: How much is looked up, at best and at least, and how well it has to fit.
LENGTHS = (RATE * 40 // 1000, RATE * 20 // 1000, RATE * 10 // 1000)
FITS = 0.999


@dataclass
class Interruption:
    """One of them, as it was heard. Times in ms."""

    point_s: float  # where in the reply it was wanted
    event_ns: int
    silence_ms: float | None = None  # after the event; None: nothing was playing then
    heard_ms: float | None = None  # of the reply
    stale_ms: float = 0.0
    truncates: list[int] = field(default_factory=list)  # each audio_end_ms the server was told
    believed_ms: int | None = None  # what the server takes for heard when it replies again
    hops: dict[str, float] = field(default_factory=dict)

    @property
    def error_ms(self) -> float | None:
        """What the server was told, minus what was heard; None where either is not known."""
        if not self.truncates or self.heard_ms is None:
            return None
        return self.truncates[0] - self.heard_ms

    @property
    def belief_ms(self) -> float | None:
        """What the server believed, minus what was heard."""
        if self.believed_ms is None or self.heard_ms is None:
            return None
        return self.believed_ms - self.heard_ms


class Listener:
    """Knows the tone, and finds pieces of it."""

    def __init__(self, tone_s: float) -> None:
        samples = round(tone_s * RATE)
        self._tone = np.frombuffer(Tone(samples).read(0, samples), "<i2")

    def listen(self, found: Interruption, recording: Samples, begin_s: float) -> None:
        """Fill in what was heard: in a recording from ``begin_s`` until before the next reply."""
        event = round((found.event_ns / 1e9 - begin_s) * RATE)
        loud = np.flatnonzero(np.abs(recording) > QUIET)
        before = loud[loud < event]
        if not len(before):
            return
        later = loud[len(before) - 1 :]
        gaps = np.flatnonzero(np.diff(later) > GAP)
        silent = int(later[gaps[0]] if len(gaps) else later[-1]) + 1
        if silent < event - CLOCK:
            # In a gap, or a stall: nothing was there to be interrupted.
            return
        found.silence_ms = (begin_s + silent / RATE) * 1e3 - found.event_ns / 1e6
        rest = loud[loud >= silent]
        found.stale_ms = float(np.minimum(np.diff(rest), CROSSING).sum()) * 1000 / RATE
        for length in LENGTHS:
            end = silent - FADE
            place = speech.find(recording[end - length : end], self._tone)
            if place.correlation > FITS:
                found.heard_ms = (place.at + length + FADE) * 1000 / RATE
                return


def match(
    found: Sequence[Interruption], journal: Sequence[dict[str, Any]], *, in_order: bool
) -> None:
    """Give each interruption what the server was told, and what it believed.

    ``in_order``: what was told first belongs to the first, because all was told when all was over.
    """
    told = [entry for entry in journal if entry["kind"] in ("truncate", "delete")]
    for number, entry in enumerate(told):
        told_ns = float(entry["t_s"]) * 1e9
        each = found[min(number, len(found) - 1)] if in_order else _before(found, told_ns)
        if each is not None:
            # To delete an item is to say that nothing of it was heard.
            each.truncates.append(int(entry.get("audio_end_ms", 0)))
            each.hops.setdefault("event → server told", (told_ns - each.event_ns) / 1e6)
    for entry in journal:
        each = _before(found, float(entry["t_s"]) * 1e9)
        if entry["kind"] == "interruption" and each is not None:
            each.believed_ms = int(entry["audio_end_ms"])


def _before(found: Sequence[Interruption], moment_ns: float) -> Interruption | None:
    # The journal's times are whole ms.
    return next((each for each in reversed(found) if each.event_ns <= moment_ns + 1e6), None)
