"""The clock of another machine, estimated from its messages."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codec, messages
from shared.clocks import LARGEST, WINDOW_NS, Clock

pytestmark = pytest.mark.unit

MS = 1_000_000
#: The other machine's clock is ahead by this much, ns.
AHEAD = 10**15


def stamp(sent_ns: int, epoch: int = 1) -> messages.Stamp:
    return messages.Stamp(seq=0, epoch=epoch, t=sent_ns + AHEAD)


def frame(captured_ns: int) -> messages.MicFrame:
    return messages.MicFrame(stream=1, position=2, captured_ns=captured_ns + AHEAD, overflows=3)


def told(clock: Clock, sent_ns: int, way_ns: int, epoch: int = 1) -> int:
    """Read a message that travelled for ``way_ns``. Return the error of its translated time, ns."""
    message, there = clock.here(frame(sent_ns), stamp(sent_ns, epoch), sent_ns + way_ns)
    assert message.captured_ns == there.t
    assert (message.stream, message.position, message.overflows) == (1, 2, 3)
    return there.t - sent_ns


def test_times_are_right_to_within_the_fastest_way() -> None:
    clock = Clock()
    ways = [5 * MS, 2 * MS, 90 * MS, 1 * MS, 300 * MS]
    assert [told(clock, n * 20 * MS + MS, way) for n, way in enumerate(ways)] == [
        5 * MS, 2 * MS, 2 * MS, MS, MS,
    ]  # fmt: skip


def test_a_reader_that_was_stopped_is_not_misled() -> None:
    clock = Clock()
    told(clock, MS, MS)
    # Messages that were queued for 20 s arrive at once, the oldest first.
    sent = [MS + n * 1000 * MS for n in range(1, 21)]
    read = sent[-1] + MS
    assert {told(clock, at, read - at) for at in sent} == {MS}
    assert told(clock, read + WINDOW_NS, MS) == MS


def test_a_clock_that_stood_still_is_followed_after_a_window() -> None:
    clock = Clock()
    told(clock, MS, MS)
    # The other machine slept for an hour: its next messages seem to have travelled for an hour.
    hour = 3600 * 1000 * MS
    for n in range(600):
        off = told(clock, n * 20 * MS, hour + MS)
    assert off == hour + MS


def test_a_clock_that_drifts_is_followed() -> None:
    clock = Clock()
    off = [told(clock, n * 20 * MS + MS, MS + n * 1000) for n in range(2000)]
    # The clocks drift by 50 parts in a million: the error is the drift of two windows.
    assert all(-2 * WINDOW_NS // 20_000 <= told - n * 1000 - MS <= 0 for n, told in enumerate(off))


def test_one_that_was_started_anew_is_another_clock() -> None:
    clock = Clock()
    told(clock, MS, MS)
    assert told(clock, 40 * MS, 7 * MS, epoch=2) == 7 * MS


def test_no_time_stays_none_and_lengths_stay() -> None:
    clock = Clock()
    event = messages.ClientEvent(session=9, expires_ns=0)
    assert clock.here(event, stamp(5), 6)[0] == event
    cut = messages.FlushReport(
        generation=1, session=2, cause="", event_ns=0, flush_ns=3 + AHEAD, received_ns=4 + AHEAD,
        silent_ns=5 + AHEAD, latency_ns=6, items=[],
    )  # fmt: skip
    assert clock.here(cut, stamp(5), 5)[0] == msgspec.structs.replace(
        cut, flush_ns=3, received_ns=4, silent_ns=5
    )


counts = st.integers(0, LARGEST)


@given(st.lists(st.tuples(counts, counts, counts, st.integers(0, 2))))
def test_every_text_remains_a_message(said: list[tuple[int, int, int, int]]) -> None:
    clock = Clock()
    for now, sent, captured, epoch in said:
        message = messages.MicFrame(stream=1, position=2, captured_ns=captured, overflows=3)
        found, there = clock.here(message, messages.Stamp(seq=0, epoch=epoch, t=sent), now)
        assert codec.decode(messages.MicFrame, *codec.encode(found, there)) == (found, there)


def test_each_field_in_ns_is_a_moment_or_a_duration() -> None:
    kinds = messages.kinds()
    assert {name for kind in kinds for name in messages.moments(kind)} >= {
        "captured_ns",
        "played_ns",
    }
    in_ns = {f for kind in kinds for f in kind.__struct_fields__ if "ns" in f.split("_")}
    # A new field in ns is a time or a length. Lengths are listed in DURATIONS.
    assert all(name.endswith("_ns") for name in in_ns)
    assert in_ns >= messages.DURATIONS
