"""Consumers, observers, and the messages that are held for a consumer."""

from __future__ import annotations

import pytest

from shared import registry
from shared.bus.readers import HOLD_BYTES, HOLD_NS, Audience, Frames, Hold, subscription
from shared.registry import Queue

pytestmark = pytest.mark.unit

ROWS = registry.published_by("downlink")
FLUSH = registry.BY_NAME["flush"]


def frames(number: int, size: int = 100) -> Frames:
    return (b"reply.audio", b"%d" % number, bytes(size))


def numbers(taken: list[Frames]) -> list[int]:
    return [int(header) for _, header, _ in taken]


def test_held_messages_are_taken_in_order_and_once() -> None:
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
    # Two large messages fit. With a small one they are over the limit.
    large = HOLD_BYTES // 2 - 1
    hold.put(0, frames(0, large))
    hold.put(0, frames(1, large))
    assert len(hold) == 2
    hold.put(0, frames(2))
    assert numbers(hold.take(0)) == [1, 2]
    # Messages that were taken no longer count.
    hold.put(0, frames(3, large))
    hold.put(0, frames(4, large))
    assert numbers(hold.take(0)) == [3, 4]
    # A message over the limit is not held.
    hold.put(0, frames(5, HOLD_BYTES + 1))
    assert hold.take(0) == []


def test_a_consumer_and_an_observer_are_told_apart_by_what_they_subscribe_to() -> None:
    for row in registry.TOPICS:
        audience = Audience([row])
        audience.update(b"\x01" + subscription(row, observer=True))
        assert audience.subscribed == {row.name}
        assert audience.observed(row)
        # Nothing is held for a topic that may lose messages: all its readers are alike.
        assert audience.consumed(row) == (row.queue is not Queue.LOSSLESS)
        audience = Audience([row])
        audience.update(b"\x01" + subscription(row, observer=False))
        assert audience.subscribed == {row.name}
        assert audience.consumed(row)
        assert audience.observed(row) == (row.queue is not Queue.LOSSLESS)


def test_a_subscription_matches_no_other_topic() -> None:
    names = {name for row in registry.TOPICS for name in (row.name, row.consumed_name)}
    for row in registry.TOPICS:
        for observer in (True, False):
            prefix = subscription(row, observer=observer).decode()
            assert [name for name in names if name.startswith(prefix)] == [prefix]


def test_a_reader_of_everything_observes_and_consumes_nothing() -> None:
    audience = Audience(ROWS)
    audience.update(b"\x01")
    assert audience.subscribed == {row.name for row in ROWS}
    assert not any(map(audience.consumed, ROWS))


def test_readers_are_counted() -> None:
    audience = Audience(ROWS)
    assert audience.update(b"\x01!flush") == "!flush"
    assert audience.update(b"\x01!flush") == "!flush"
    assert audience.update(b"\x00!flush") is None
    assert audience.consumed(FLUSH)
    audience.update(b"\x00!flush")
    assert not audience.consumed(FLUSH)
    # One end too many does not cancel the next subscription.
    audience.update(b"\x00!flush")
    audience.update(b"\x01!flush")
    assert audience.consumed(FLUSH)
    assert not audience.observed(FLUSH)


def test_subscriptions_that_match_no_topic_take_no_memory() -> None:
    audience = Audience(ROWS)
    for n in range(1000):
        audience.update(b"\x01nothing.%d" % n)
        audience.update(b"\x00nothing.%d" % n)
        audience.update(b"\x01\xff")
        audience.update(b"\x01flush.%d" % n)
        audience.update(b"\x01?flush")
        audience.update(b"\x01!heard")
        audience.update(b"")
        audience.update(b"\x07flush")
    assert not audience.counts
    assert not audience.subscribed
