"""The bus's messages as a viewer gets them: plain maps for JSON. Pure.

Times are ms of the machine's monotonic clock, lengths are ms. docs/door.md describes each map.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared import messages

Map = dict[str, Any]
#: The counters of a health that count gaps, where sound or a message is missing. After those with a
#: dot, one for each topic follows.
GAPS = ("lost.", "overflows", "underflows", "underruns")
#: The counters of what came and was not used.
DROPS = ("stale.", "refused.", "events_expired", "events_unsent", "responses_dropped", "unplayed")


def interruption(record: messages.Interruption, at_ns: int, words: dict[str, str]) -> Map:
    """Return one interruption. ``words``: the whole text of each item, by its id."""
    hops = {name: round(at_ms, 1) for name, at_ms in record.hops_ms(at_ns).items()}
    silence_ms = record.silence_ms
    return {
        "type": "interruption",
        "at_ms": (record.event_ns or record.flush_ns or at_ns) // 1_000_000,
        "cause": record.cause,
        "hops": hops,
        "silence_ms": None if silence_ms is None else round(silence_ms, 1),
        "heard_ms": sum(told.heard_ms for told in record.reports),
        "received_ms": sum(told.received_ms for told in record.reports),
        "items": [_item(told, words.get(told.item_id, "")) for told in record.reports],
    }


def _item(told: messages.ItemReport, text: str) -> Map:
    heard = told.heard_text
    return {
        "item_id": told.item_id,
        "heard_ms": told.heard_ms,
        "received_ms": told.received_ms,
        "action": told.action,
        "heard": heard,
        "unheard": text[len(heard) :].strip() if text.startswith(heard) else "",
    }


def link(state: messages.LinkState) -> Map:
    """Return the state of the connection."""
    return {
        "type": "link",
        "state": state.state,
        "reason": state.reason,
        "cause": state.cause,
        "retry_ms": state.retry_ms,
        "opened_ms": state.opened_ns // 1_000_000,
        "round_trip_ms": state.round_trip_us / 1000 or None,
    }


def calls(state: messages.ToolState) -> Map:
    """Return the function calls that run or wait."""
    return {"type": "calls", "calls": msgspec.to_builtins(state.calls)}


def panel(state: messages.Panel) -> Map:
    """Return how the switches stand."""
    return {"type": "panel", "muted": state.muted, "volume": state.volume}


def usage(state: messages.Usage) -> Map:
    """Return what the conversation has used, and the estimate of its cost."""
    fields = msgspec.to_builtins(state)
    fields.pop("payload")
    return {"type": "usage", **fields}


def health(stage: str, told: messages.Health, *, late: bool) -> Map:
    """Return a stage's account of itself. ``late``: it has not published one for some seconds."""
    return {
        "stage": stage,
        "pid": told.pid,
        "ok": told.ok and not told.silent and not late,
        "state": "publishes nothing" if late else told.state,
        "silent": told.silent,
        "off_rate": told.off_rate,
        "received": told.received,
        "memory_mb": None,
        "cpu": None,
        "gaps": _total(told, GAPS),
        "drops": _total(told, DROPS),
        "counters": {name: count for name, count in told.counters.items() if count},
    }


def _total(told: messages.Health, names: tuple[str, ...]) -> int:
    return sum(
        count
        for name, count in told.counters.items()
        if name in names or "".join(name.partition(".")[:2]) in names
    )
