"""The tables of benchmarks.bargein."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence

from harness.listening import Interruption

NAMES = {
    "device": "the device's limit",
    "bargein": "Bargein",
    "one process": "one process",
    "pipecat": "Pipecat",
}


def conditions(arguments: argparse.Namespace) -> str:
    """Return the conditions in words."""
    said = [f"{arguments.interruptions} interruptions each", f"pace {arguments.pace:g}×"]
    said += ["stale deltas"] if arguments.stale else []
    said += ["a stall in every reply"] if arguments.stall else []
    said += [f"{stage} stopped" for stage in arguments.stopped]
    said += [f"{stage} spinning" for stage in arguments.spinning]
    said += ["a watcher that reads nothing"] if arguments.stuck_watcher else []
    said += [f"recording to {arguments.record}"] if arguments.record else []
    said += ["all cores busy"] if arguments.busy else []
    return ", ".join(said)


def line(name: str, found: Sequence[Interruption]) -> str:
    """Return one line about a system's round."""
    silences = " ".join("–" if f.silence_ms is None else f"{f.silence_ms:.0f}" for f in found)
    return f"{name}: silent after {silences} ms"


def table(results: Mapping[str, Sequence[Interruption]]) -> str:
    """Return the table of all systems, and the hops of Bargein."""
    groups = (
        ("event → silence, ms", 24),
        ("stale", 8),
        ("truncate error, ms", 24),
        ("belief, ms", 16),
    )
    heads = ("median", "90 %", "worst", "worst", "median", "worst", "told", "median", "worst")
    rows = [
        "\n" + " " * 20 + "".join(f"{name:>{width}}" for name, width in groups),
        " " * 20 + "".join(f"{head:>8}" for head in heads),
    ]
    for name, found in results.items():
        silences = [f.silence_ms for f in found if f.silence_ms is not None]
        errors = [f.error_ms for f in found if f.error_ms is not None]
        beliefs = [f.belief_ms for f in found if f.belief_ms is not None]
        cells = (
            *(_median(silences), _high(silences), _worst(silences)),
            f"{max((f.stale_ms for f in found), default=0):.0f}",
            *(_median([abs(e) for e in errors]), _worst(errors)),
            str(sum(len(f.truncates) for f in found) or "never"),
            *(_median([abs(b) for b in beliefs]), _worst(beliefs)),
        )
        rows.append(f"{NAMES[name]:20}" + "".join(f"{cell:>8}" for cell in cells))
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
