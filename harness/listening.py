"""Finds interruptions in a recording of the speaker: when it fell silent, and where in the reply.

A reply is the rising tone, so the last sound tells how far the reply was heard. The pitch alone is
exact to some ms. The sound server changes no sample, so the last stretch before the silence is
found in the tone itself, which is exact to the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness import speech
from harness.waves import RATE, Samples
from services.emulator.tone import Tone

#: A sample up to this value is silence; the tone's peak is 10,000.
QUIET = 8
#: A shorter silence is a gap that a busy machine makes: 25 ms, in samples.
GAP = RATE * 25 // 1000
#: The greatest error of the recording's clock: 3 ms, in samples.
CLOCK = RATE * 3 // 1000
#: The longest silence within sound, in samples: 2 ms, between two halves of a wave of 300 Hz, which
#: is the lowest frequency of the tone.
CROSSING = RATE * 2 // 1000
#: The sound before the silence may be a fade, which matches no part of the tone: 4 ms, in samples.
FADE = RATE * 4 // 1000
#: The lengths of a chunk to find in the tone, in samples: 40, 20 and 10 ms. A longer chunk is tried
#: first.
LENGTHS = (RATE * 40 // 1000, RATE * 20 // 1000, RATE * 10 // 1000)
#: The correlation from which a chunk counts as found in the tone.
FITS = 0.999


@dataclass
class Interruption:
    """One interruption at the speaker. Times are ms."""

    point_s: float  # the position in the reply at which to interrupt
    event_ns: int
    silence_ms: float | None = None  # after the event; None: nothing was playing
    heard_ms: float | None = None  # how much of the reply was heard
    stale_ms: float = 0.0
    truncates: list[int] = field(default_factory=list)  # each audio_end_ms that the server was sent
    believed_ms: int | None = None  # what the server believes was heard, when it replies again
    hops: dict[str, float] = field(default_factory=dict)

    @property
    def error_ms(self) -> float | None:
        """The audio_end_ms sent minus the audio heard, ms; None if either is unknown."""
        if not self.truncates or self.heard_ms is None:
            return None
        return self.truncates[0] - self.heard_ms

    @property
    def belief_ms(self) -> float | None:
        """The audio that the server believed was heard minus the audio heard, ms."""
        if self.believed_ms is None or self.heard_ms is None:
            return None
        return self.believed_ms - self.heard_ms


class Listener:
    """Finds pieces of the tone in a recording."""

    def __init__(self, tone_s: float) -> None:
        samples = round(tone_s * RATE)
        self._tone = np.frombuffer(Tone(samples).read(0, samples), "<i2")

    def listen(self, found: Interruption, recording: Samples, begin_s: float) -> None:
        """Fill in how much was heard between ``begin_s`` and the next reply."""
        event = round((found.event_ns / 1e9 - begin_s) * RATE)
        loud = np.flatnonzero(np.abs(recording) > QUIET)
        before = loud[loud < event]
        if not len(before):
            return
        later = loud[len(before) - 1 :]
        gaps = np.flatnonzero(np.diff(later) > GAP)
        silent = int(later[gaps[0]] if len(gaps) else later[-1]) + 1
        if silent < event - CLOCK:
            # In a gap or a stall, nothing was playing that could be interrupted.
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
    """Add to each interruption the truncates that the server got, and the server's belief.

    ``in_order``: the first truncate belongs to the first interruption, because everything was sent
    when all interruptions were over.
    """
    told = [entry for entry in journal if entry["kind"] in ("truncate", "delete")]
    for number, entry in enumerate(told):
        told_ns = float(entry["t_s"]) * 1e9
        each = found[min(number, len(found) - 1)] if in_order else _before(found, told_ns)
        if each is not None:
            # Deleting an item means that nothing of it was heard.
            each.truncates.append(int(entry.get("audio_end_ms", 0)))
            each.hops.setdefault("event → server told", (told_ns - each.event_ns) / 1e6)
    for entry in journal:
        each = _before(found, float(entry["t_s"]) * 1e9)
        if entry["kind"] == "interruption" and each is not None:
            each.believed_ms = int(entry["audio_end_ms"])


def _before(found: Sequence[Interruption], moment_ns: float) -> Interruption | None:
    # The journal's times are in whole ms.
    return next((each for each in reversed(found) if each.event_ns <= moment_ns + 1e6), None)
