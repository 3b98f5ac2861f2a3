"""The bus's messages as a viewer gets them: plain maps for JSON. Pure.

Times are ms of the machine's monotonic clock, lengths are ms. docs/door.md describes each map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shared import codec, messages
from shared.config import Config, ConfigError
from shared.realtime import changes

Map = dict[str, Any]
#: The counters of a health that count gaps, where sound or a message is missing. After those with a
#: dot, one for each topic follows.
GAPS = ("lost.", "overflows", "underflows", "underruns")
#: The counters of messages that came and were not used.
DROPS = ("stale.", "refused.", "events_expired", "events_unsent", "responses_dropped", "unplayed")
#: How much of a function's output a viewer gets, characters.
MOST_TEXT = 1000


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
        "heard_ms": sum(report.heard_ms for report in record.reports),
        "received_ms": sum(report.received_ms for report in record.reports),
        "items": [_item(report, words.get(report.item_id, "")) for report in record.reports],
    }


def _item(report: messages.ItemReport, text: str) -> Map:
    heard = report.heard_text
    return {
        "item_id": report.item_id,
        "heard_ms": report.heard_ms,
        "received_ms": report.received_ms,
        "action": report.action,
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


def result(done: messages.ToolResult) -> Map | None:
    """Return what came of a function call, or the person's answer to it; None: nothing to show."""
    if done.what not in ("output", "outcome", "approval"):
        return None
    try:
        text = codec.read_output(done.payload).text
    except codec.BadMessage:
        return None
    words = ("denied", "approved") if done.what == "approval" else ("failed", "done")
    return {
        "type": "result",
        "call_id": done.call_id,
        "name": done.name,
        "summary": done.summary or done.name,
        "result": words[done.ok],
        "took_ms": done.took_ms,
        "text": text[:MOST_TEXT],
    }


def panel(state: messages.Panel) -> Map:
    """Return the positions of the switches."""
    return {"type": "panel", "muted": state.muted, "volume": state.volume}


def settings(config: Config) -> Map:
    """Return the settings that a viewer shows, and that hold until their stage is restarted."""
    return {
        "decide": config.interruption.decide,
        "duck": config.interruption.duck,
        "capture": config.capture.device,
        "playback": config.playback.device,
        "model": config.link.model,
        "voice": config.session.voice,
    }


def session(config: Config, changed: Mapping[str, str]) -> Map:
    """Return the settings that a person can change, without changes that no longer fit."""
    try:
        offered = changes.offered(config, changed)
    except ConfigError:
        offered = changes.offered(config, {})
    return {"type": "session", "settings": offered}


def usage(state: messages.Usage) -> Map:
    """Return what the conversation has used, and the estimate of its cost."""
    fields = msgspec.to_builtins(state)
    fields.pop("payload")
    return {"type": "usage", **fields}


def health(stage: str, newest: messages.Health, *, late: bool) -> Map:
    """Return a stage's health. ``late``: the stage has not published one for some seconds."""
    return {
        "stage": stage,
        "pid": newest.pid,
        "ok": newest.ok and not newest.silent and not late,
        "late": late,
        "state": "publishes nothing" if late else newest.state,
        "silent": newest.silent,
        "off_rate": newest.off_rate,
        "received": newest.received,
        "memory_mb": None,
        "cpu": None,
        "gaps": gaps(newest),
        "drops": drops(newest),
        "counters": {name: count for name, count in newest.counters.items() if count},
    }


def gaps(newest: messages.Health) -> int:
    """Return how often sound or a message was missing."""
    return _total(newest, GAPS)


def drops(newest: messages.Health) -> int:
    """Return how many messages came and were not used."""
    return _total(newest, DROPS)


def _total(newest: messages.Health, names: tuple[str, ...]) -> int:
    return sum(
        count
        for name, count in newest.counters.items()
        if name in names or "".join(name.partition(".")[:2]) in names
    )
