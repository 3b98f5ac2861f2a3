"""Compares the messages of a replayed stage with those in the recording. Pure.

The decisions of a stage are compared message by message. Some messages show a state at the moment
at which a timer rang. This moment depends on the ms at which messages arrived, which were not
recorded. So only such messages are compared that were not replaced within a second. The last second
of a recording is not compared: the stages were ending then, one after the other.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from shared import messages, recording
from shared.recording import Recorded
from shared.registry import Queue

#: Fields that are not compared, as topic.field; * stands for every topic. They tell when something
#: was done, read from the clock of the stage itself: a replay handles each message at the time at
#: which it was published, and the recorded stage did so a fraction of a ms later.
IGNORED = (
    "*.t",
    "*.seq",
    "*.epoch",
    "flush.event_ns",
    "interruption.event_ns",
    "interruption.flush_ns",
    "interruption.received_ns",
    "report.flush.event_ns",
    "report.flush.flush_ns",
    "report.flush.received_ns",
    # These count from when the device was opened, which can be before the recording.
    "speaker.frame.stream",
    "speaker.frame.position",
    # Older recordings do not have it.
    "transcript.begun_ns",
    # The sum of all conversations of a day, by a clock of its own.
    "usage.day",
    "usage.date",
    "usage.awake_ms",
    "session.sleep.since_ns",
    # The day of the prices in the settings of whoever replays.
    "usage.priced_on",
)
#: Topics of which only the messages that held for a while are compared, and that time, ns.
SETTLED = frozenset({"reply.state", "history.heard", "session.request", "turn.decision", "usage"})
#: Topics whose recorded messages must be among the replayed ones: the stage publishes its present
#: state, and skips some states when it is late.
SAMPLED = frozenset({"heard"})
#: Topics that are not compared: they show the acts of the device, not decisions of the stage.
GIVEN = frozenset({"speaker.calls"})
SETTLED_NS = 1_000_000_000
#: A message on one side only is no difference if it came this shortly before the end of the time
#: that is compared, ns: on the other side it can have come after that.
EDGE_NS = 100_000_000
#: How many differences of each topic are shown; further ones are counted.
SHOWN = 10


class Difference(NamedTuple):
    """A difference between the recording and the replay."""

    topic: str
    #: When the recorded message was published, or the replayed one if there is no recorded one, ns.
    at_ns: int
    text: str


def plain(recorded: Recorded, ignored: frozenset[str]) -> dict[str, Any]:
    """Return the fields of a message that are compared. A payload of JSON is read."""
    name = recorded.topic.name
    fields: dict[str, Any] = msgspec.to_builtins(recorded.message, builtin_types=(bytes,))
    payload = fields.pop("payload")
    if payload:
        try:
            is_text = recording.holds_text(recorded.topic.type)
            fields["payload"] = msgspec.json.decode(payload) if is_text else payload.hex()
        except (msgspec.MsgspecError, ValueError, RecursionError):
            fields["payload"] = payload.hex()
    return {
        field: value
        for field, value in fields.items()
        if f"{name}.{field}" not in ignored and f"*.{field}" not in ignored
    }


class Span(NamedTuple):
    """The time of a recording: that of its first and of its last message, ns."""

    begin_ns: int
    end_ns: int


def compared(found: Iterable[Recorded], span: Span) -> list[Recorded]:
    """Return the messages of one topic that are compared."""
    changes: list[Recorded] = []
    for each in found:
        if isinstance(each.message, messages.Transcript) and not each.message.final:
            continue
        if each.topic.queue is Queue.STATE and changes and changes[-1].message == each.message:
            continue  # a repetition
        changes.append(each)
    ends = [*(each.stamp.t for each in changes[1:]), span.end_ns]
    return [
        each
        for each, until_ns in zip(changes, ends, strict=False)
        if span.begin_ns <= each.stamp.t <= span.end_ns - SETTLED_NS
        and (each.topic.name not in SETTLED or until_ns - each.stamp.t >= SETTLED_NS)
    ]


def missing(recorded: Iterable[Recorded]) -> int:
    """Return how many messages of one topic are missing between those of a recording."""
    lost, epoch, seq = 0, 0, 0
    for each in recorded:
        if each.stamp.epoch == epoch:
            lost += max(0, each.stamp.seq - seq - 1)
        epoch, seq = each.stamp.epoch, each.stamp.seq
    return lost


def differences(
    recorded: Sequence[Recorded],
    replayed: Sequence[Recorded],
    ignored: frozenset[str],
    span: Span,
) -> Iterator[Difference]:
    """Yield the differences in one topic, in order. ``span``: of the whole recording.

    A late recorder misses messages of a live topic. Then a further replayed one is no difference.
    """
    topic = recorded[0].topic if recorded else None
    lost = topic is not None and topic.queue is Queue.LIVE and missing(recorded) > 0
    before, after = compared(recorded, span), compared(replayed, span)
    left = [plain(each, ignored) for each in before]
    right = [plain(each, ignored) for each in after]
    keys = [[msgspec.json.encode(each, order="sorted") for each in side] for side in (left, right)]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for kind, begin, end, other, other_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        pairs = min(end - begin, other_end - other)
        for offset in range(pairs):
            at = before[begin + offset]
            for line in fields(left[begin + offset], right[other + offset]):
                yield Difference(at.topic.name, at.stamp.t, f"{_name(begin + offset)}{line}")
        edge_ns = span.end_ns - SETTLED_NS - EDGE_NS
        for number in range(begin + pairs, end):
            if before[number].stamp.t > edge_ns:
                continue
            text = f"{_name(number)}is missing: {short(left[number])}"
            yield Difference(before[number].topic.name, before[number].stamp.t, text)
        for number in range(other + pairs, other_end):
            if lost or after[number].stamp.t > edge_ns or after[number].topic.name in SAMPLED:
                continue
            text = f"was not recorded: {short(right[number])}"
            yield Difference(after[number].topic.name, after[number].stamp.t, text)


def _name(number: int) -> str:
    return f"message {number + 1} "


def fields(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each field that differs: its path, and both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            yield from fields(before.get(name), after.get(name), f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from fields(one, other, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: recorded {short(before)}, replayed {short(after)}"


def short(value: Any) -> str:
    """Return a value as JSON, cut to a readable length."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 160 else f"{text[:120]} … ({len(text)} characters)"
