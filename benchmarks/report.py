"""The figures as tables."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.listening import Interruption

NAMES = {
    "device": "the device's limit",
    "bargein": "Bargein",
    "one process": "one process",
    "pipecat": "Pipecat",
}


def conditions(arguments: argparse.Namespace) -> str:
    """Give what was asked for in words."""
    said = [f"{arguments.interruptions} interruptions each", f"pace {arguments.pace:g}×"]
    said += ["stale deltas"] if arguments.stale else []
    said += ["a stall in every reply"] if arguments.stall else []
    said += [f"{stage} stopped" for stage in arguments.stopped]
    said += [f"{stage} spinning" for stage in arguments.spinning]
    said += ["all cores busy"] if arguments.busy else []
    return ", ".join(said)


def line(name: str, found: Sequence[Interruption]) -> str:
    """Give one system's round in a line."""
    silences = " ".join("–" if f.silence_ms is None else f"{f.silence_ms:.0f}" for f in found)
    return f"{name}: silent after {silences} ms"


def table(results: Mapping[str, Sequence[Interruption]]) -> str:
    """Give the table of all systems, and the hops of Bargein."""
    rows = [
        f"\n{'':20}{'event → silence, ms':>23}{'stale, ms':>12}{'truncate error, ms':>26}",
        "".join(
            (
                f"{'':20}{'median':>9}{'90 %':>7}{'worst':>7}",
                f"{'worst':>12}{'median':>12}{'worst':>8}{'told':>6}",
            )
        ),
    ]
    for name, found in results.items():
        silences = [f.silence_ms for f in found if f.silence_ms is not None]
        errors = [f.error_ms for f in found if f.error_ms is not None]
        told = sum(len(f.truncates) for f in found)
        rows.append(
            f"{NAMES[name]:20}{_median(silences):>9}{_high(silences):>7}{_worst(silences):>7}"
            f"{max((f.stale_ms for f in found), default=0):12.0f}"
            f"{_median([abs(e) for e in errors]):>12}{_worst(errors):>8}{told or 'never':>6}"
        )
        if len(silences) < len(found):
            rows.append(f"    {len(found) - len(silences)} times nothing was playing at the event")
    if "bargein" in results and "device" in results:
        rows.append(_apart(results["bargein"], results["device"]))
    rows += _hops(results.get("bargein", []))
    return "\n".join(rows)


def _apart(found: Sequence[Interruption], limit: Sequence[Interruption]) -> str:
    ours = [f.silence_ms for f in found if f.silence_ms is not None]
    least = [f.silence_ms for f in limit if f.silence_ms is not None]
    if not ours or not least:
        return ""
    return (
        f"\nBargein is silent {statistics.median(ours) - statistics.median(least):.1f} ms after the"
        f" device's limit at the median, {max(ours) - max(least):.1f} ms at the worst"
    )


def _hops(found: Sequence[Interruption]) -> list[str]:
    names = list(dict.fromkeys(name for each in found for name in each.hops))
    if not names:
        return []
    rows = [f"\n{'Bargein, hop by hop, ms':32}{'median':>9}{'90 %':>7}{'worst':>7}"]
    for name in names:
        values = [each.hops[name] for each in found if name in each.hops]
        rows.append(f"  {name:30}{_median(values):>9}{_high(values):>7}{_worst(values):>7}")
    return rows


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "–"


def _high(values: Sequence[float]) -> str:
    return f"{sorted(values)[math.ceil(0.9 * len(values)) - 1]:.1f}" if values else "–"


def _worst(values: Sequence[float]) -> str:
    return f"{max(values, key=abs):.1f}" if values else "–"
