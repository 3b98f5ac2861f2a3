"""The timers of a loop."""

from __future__ import annotations

import math

import pytest

from shared.timers import Timers

pytestmark = pytest.mark.unit


def test_handlers_are_due_in_the_order_of_their_times() -> None:
    timers, ran = Timers(), list[str]()
    timers.add(2.0, lambda: ran.append("second"))
    timers.add(1.0, lambda: ran.append("first"))
    timers.add(2.0, lambda: ran.append("third"))
    assert timers.pop_due(0.9) is None
    while handler := timers.pop_due(2.0):
        handler()
    assert ran == ["first", "second", "third"]


def test_a_loop_without_timers_waits_for_ever() -> None:
    assert Timers().next_s == math.inf
    assert Timers().pop_due(1e9) is None


def test_a_period_that_was_missed_is_not_made_up_for() -> None:
    timers = Timers()
    timers.add(1.0, lambda: None, period_s=1.0)
    assert timers.pop_due(1.2) is not None
    assert timers.next_s == 2.0
    assert timers.pop_due(7.5) is not None
    assert timers.next_s == 8.5
