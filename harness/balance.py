"""Compare the audio heard with the reports of the stages and the server, after faults.

Each error is added to the fault before it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.accounts import Played
from harness.talk import Talk
from services.uplink.reports import MARGIN_MS
from shared import messages

#: The most by which a truncate may exceed the audio heard, ms. Without a fault in between, also the
#: most by which a truncate may fall short.
ABOVE_MS, BELOW_MS = 12.0, 12.0
#: The most audio that an unplugged device may have taken without playing it, ms.
TAKEN_MS = 40.0


@dataclass
class Fault:
    """One fault, and its effect on the conversation."""

    number: int
    kind: str
    phase: str
    at_s: float = 0.0
    over_s: float = 0.0  # when the conversation had recovered from the fault
    answer_s: float | None = None
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)


def balance(talk: Talk, faults: Sequence[Fault], beliefs: dict[str, int]) -> list[str]:
    """Check the accounts, and add each error to the fault before it. Return lines to print."""
    for line in talk.ledger.unbalanced():
        faults[-1].wrong.append(line)
    told: dict[str, list[dict[str, Any]]] = {}
    for kind in ("truncate", "delete"):
        for entry in talk.emulator.journal(kind):
            told.setdefault(entry["item_id"], []).append(entry)
    # Read the speaker after the journal, so that everything in the journal has been played.
    played = talk.played()
    begun = sorted((item.begun_ns / 1e9, name) for name, item in talk.ledger.items.items())
    truth = {name: found for at, name in begun if (found := _nearest(played, at)) is not None}
    off: list[float] = []
    for name, entries in told.items():
        fault = _before(faults, float(entries[0]["t_s"]))
        taken = [e for e in entries if e["kind"] == "delete" or e["ok"]]
        if len(taken) > 1 or len(taken) < len(entries):
            fault.wrong.append(f"{name} was truncated or deleted {len(entries)} times: {entries}")
        found = truth.get(name)
        if not taken or found is None:
            continue
        end_ms = float(taken[0].get("audio_end_ms", 0))
        between = any(
            found.begun_s - 0.5 < f.at_s < float(taken[0]["t_s"])
            or f.at_s < found.begun_s < f.over_s
            for f in faults
        )
        if end_ms > found.whole_ms + (TAKEN_MS if between else ABOVE_MS):
            fault.wrong.append(
                f"{name} was truncated at {end_ms:.0f} ms, heard was {_heard(found)}"
            )
        if not between:
            off.append(end_ms - found.last_ms)
            if end_ms < found.last_ms - BELOW_MS:
                fault.wrong.append(
                    f"{name} was truncated at {end_ms:.0f} ms, heard was {found.last_ms:.0f}"
                )
    for name, believed in beliefs.items():
        found = truth.get(name)
        if found is not None and believed > found.whole_ms + MARGIN_MS + TAKEN_MS:
            _before(faults, found.ended_s).wrong.append(
                f"the server believes that {believed} ms of {name} were heard,"
                f" it was {_heard(found)}"
            )
    _stale(talk, faults, played, [at for at, name in begun if name not in truth])
    unheard = len([name for name in talk.ledger.items if name not in truth])
    counts = f"{len(played)} replies at the speaker, {len(told)} items truncated or deleted"
    lines = [f"{counts}, {unheard} not found in the recording"]
    if talk.in_vain:
        lines.append(f"talked over in vain {talk.in_vain} times")
    if off:
        lines.append(
            f"told minus heard where nothing had happened: median {statistics.median(off):+.1f} ms,"
            f" {min(off):+.1f} to {max(off):+.1f}, of {len(off)}"
        )
    return lines


def _stale(
    talk: Talk, faults: Sequence[Fault], played: Sequence[Played], merged: Sequence[float]
) -> None:
    """Look for sound of items that playback reported as cut.

    ``merged`` are the start times, s, of replies that the recording does not separate from the
    replies before them.
    """
    for cut in talk.run.bus.all(messages.FlushReport):
        if not any(0 < item.heard < item.received for item in cut.items):
            continue
        silent_s = (cut.silent_ns + cut.latency_ns) / 1e9
        # The clocks of recordings are less exact than this.
        before = [reply for reply in played if reply.begun_s < silent_s - 0.05]
        last_s = before[-1].ended_s if before else 0.0
        if last_s > silent_s + 0.1 and not any(silent_s - 0.15 < at < last_s for at in merged):
            late_s = last_s - silent_s
            line = f"sound for {late_s:.2f} s after a flush, at {silent_s:.2f} s"
            _before(faults, silent_s).wrong.append(line)


def _heard(found: Played) -> str:
    hole = f", to {found.last_ms:.0f} with a hole" if found.hole else ""
    return f"{found.whole_ms:.0f} ms until {found.ended_s:.2f} s{hole}"


def _nearest(played: Sequence[Played], at_s: float) -> Played | None:
    found = min(played, key=lambda reply: abs(reply.begun_s - at_s), default=None)
    return found if found is not None and abs(found.begun_s - at_s) < 0.15 else None


def _before(faults: Sequence[Fault], moment_s: float) -> Fault:
    return next((f for f in reversed(faults) if f.at_s <= moment_s), faults[0])
