"""What messages mean, in words for a person. Pure."""

from __future__ import annotations

from shared import messages

#: The words for the causes of an interruption whose silence has no time.
_WITHOUT_TIME = {"abandoned": "nothing played", "lost flush": "the flush was lost"}


def silence_ms(record: messages.Interruption) -> float | None:
    """Return the time from an interruption's cause to the first silence that is audible, ms.

    None: one of the two times is not known.
    """
    if not (record.event_ns and record.silent_ns):
        return None
    return (record.silent_ns + record.latency_ns - record.event_ns) / 1e6


def interruption(record: messages.Interruption) -> str:
    """Return an interruption in words: "stopped in 12 ms, heard 5.2 of 20.9 s"."""
    silent_ms = silence_ms(record)
    if silent_ms is not None:
        stopped = f"stopped in {silent_ms:.0f} ms"
    else:
        stopped = f"stopped ({_WITHOUT_TIME.get(record.cause, 'in a time that is not known')})"
    received_ms = sum(report.received_ms for report in record.reports)
    heard_ms = sum(report.heard_ms for report in record.reports)
    if not heard_ms:
        return f"{stopped}, nothing was heard"
    return f"{stopped}, heard {heard_ms / 1000:.1f} of {received_ms / 1000:.1f} s"
