"""Who reads, who looks on, and what waits for a reader."""

from __future__ import annotations

import pytest

from shared import registry
from shared.readers import HOLD_BYTES, HOLD_NS, Audience, Frames, Hold, subscriptions
from shared.registry import Queue

pytestmark = pytest.mark.unit

ROWS = registry.published_by("downlink")


def frames(number: int, size: int = 100) -> Frames:
    return (b"reply.audio", b"%d" % number, bytes(size))


def numbers(taken: list[Frames]) -> list[int]:
    return [int(header) for _, header, _ in taken]


def test_what_waits_is_given_in_order_and_once() -> None:
    hold = Hold(10)
    for n in range(5):
        hold.put(n, frames(n))
    assert numbers(hold.take(5)) == [0, 1, 2, 3, 4]
    assert hold.take(5) == []
    hold.put(6, frames(6))
    assert numbers(hold.take(6)) == [6]


def test_the_oldest_are_let_go_of_by_number_by_age_and_by_bytes() -> None:
    hold = Hold(3)
    for n in range(5):
        hold.put(0, frames(n))
    assert len(hold) == 3
    assert numbers(hold.take(HOLD_NS)) == [2, 3, 4]
    hold.put(0, frames(0))
    hold.put(1, frames(1))
    assert numbers(hold.take(HOLD_NS + 1)) == [1]
    # two of the largest, and a small one
    large = HOLD_BYTES // 2 - 1
    hold.put(0, frames(0, large))
    hold.put(0, frames(1, large))
    assert len(hold) == 2
    hold.put(0, frames(2))
    assert numbers(hold.take(0)) == [1, 2]
    # what was given is not counted on
    hold.put(0, frames(3, large))
    hold.put(0, frames(4, large))
    assert numbers(hold.take(0)) == [3, 4]
    # one that is larger than all there may be does not wait at all
    hold.put(0, frames(5, HOLD_BYTES + 1))
    assert hold.take(0) == []


def test_a_reader_and_an_onlooker_are_told_apart_by_what_they_subscribe_to() -> None:
    for row in registry.TOPICS:
        audience = Audience([row])
        for subscription in subscriptions(row, onlooker=True):
            audience.told(b"\x01" + subscription)
        assert (audience.subscribed, audience.has_reader(row.name)) == ({row.name}, False)
        [name] = subscriptions(row, onlooker=False)
        audience.told(b"\x01" + name)
        assert audience.has_reader(row.name)


def test_an_onlooker_gets_nothing_it_did_not_ask_for_and_is_nobodys_reader() -> None:
    names = set(registry.BY_NAME)
    for row in registry.TOPICS:
        for prefix in subscriptions(row, onlooker=True):
            got = {name for name in names if name.startswith(prefix.decode())}
            assert got <= {row.name}
            assert prefix.decode() not in names


def test_what_waits_is_shown_where_something_may_wait() -> None:
    for row in registry.TOPICS:
        shown = b"?" + row.name.encode() in subscriptions(row, onlooker=True)
        assert shown == (row.queue is Queue.LOSSLESS)


def test_readers_are_counted() -> None:
    audience = Audience(ROWS)
    assert audience.told(b"\x01flush") == "flush"
    assert audience.told(b"\x01flush") == "flush"
    assert audience.told(b"\x00flush") is None
    assert audience.has_reader("flush")
    audience.told(b"\x00flush")
    assert not audience.has_reader("flush")
    # one end too many does not make the next reader none
    audience.told(b"\x00flush")
    audience.told(b"\x01flush")
    assert audience.has_reader("flush")


def test_what_concerns_nobody_here_takes_no_memory() -> None:
    audience = Audience(ROWS)
    for n in range(1000):
        audience.told(b"\x01nothing.%d" % n)
        audience.told(b"\x00nothing.%d" % n)
        audience.told(b"\x01\xff")
        audience.told(b"\x01flush.%d" % n)
        audience.told(b"")
        audience.told(b"\x07flush")
    assert not audience.counts
    assert not audience.subscribed
