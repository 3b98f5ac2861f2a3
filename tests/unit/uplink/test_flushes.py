"""Each flush waits for its report, and is reported once."""

from __future__ import annotations

import pytest

from services.uplink.flushes import MAX_WAITING, Flushes, Waiting
from shared import messages

pytestmark = pytest.mark.unit


def flush(generation: int, *received: messages.Received) -> messages.Flush:
    return messages.Flush(
        generation=generation,
        session=1,
        cause="control",
        event_ns=1,
        received=list(received),
        interrupted=[],
        active=[],
    )


def test_a_flush_waits_until_it_is_reported() -> None:
    flushes, first = Flushes(), flush(5)
    assert flushes.add(first, ["resp"])
    assert flushes.waiting(5) is first
    assert not flushes.reported(5)
    assert flushes.mark_reported(5) == Waiting(first, ["resp"])
    assert flushes.waiting(5) is None
    assert flushes.reported(5)


def test_a_report_that_comes_before_its_flush_is_enough() -> None:
    flushes = Flushes()
    assert flushes.mark_reported(5) is None
    assert not flushes.add(flush(5), [])
    assert flushes.waiting(5) is None


def test_the_oldest_is_given_up_when_too_many_wait() -> None:
    flushes = Flushes()
    for generation in range(1, MAX_WAITING + 1):
        flushes.add(flush(generation), [])
        assert flushes.overdue() == 0
    flushes.add(flush(MAX_WAITING + 1), [])
    assert flushes.overdue() == 1
    flushes.mark_reported(1)
    assert flushes.overdue() == 0


def test_an_item_whose_beginning_downlink_did_not_read_is_not_counted() -> None:
    known, unknown = messages.Received("a", 0, 10, True), messages.Received("b", 1, 0, False)
    assert Waiting(flush(5, known, unknown), []).counted == {("a", 0)}
