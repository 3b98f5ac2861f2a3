"""What is wrong with a microphone: no sound, clipping, two channels that cancel each other."""

from __future__ import annotations

import pytest

from services.capture.condition import CLIPS, DEAD, Condition
from services.capture.levels import Level
from shared.faults import Fault

pytestmark = pytest.mark.unit


def judged(condition: Condition, *, clipped: int = 0, silent_s: int = 0) -> Fault | None:
    level = Level(-3, -20, clipped, silent_s)
    return condition.judge(level, None, may_be_silent=False)


@pytest.mark.parametrize("clipping", [(), (0,), (4, 9)])
def test_a_knock_or_two_is_nothing(clipping: tuple[int, ...]) -> None:
    condition = Condition()
    found = [judged(condition, clipped=500 * (second in clipping)) for second in range(30)]
    assert found == [None] * 30


def test_a_few_samples_are_nothing() -> None:
    condition = Condition()
    assert [judged(condition, clipped=23) for _ in range(20)] == [None] * 20


def test_clipping_in_three_of_ten_seconds_is_a_fault_until_ten_are_clean() -> None:
    condition = Condition()
    found = [judged(condition, clipped=24 * (second in (0, 4, 9))) for second in range(25)]
    assert found == [None] * 9 + [CLIPS] * 10 + [None] * 6


def test_three_knocks_in_a_minute_are_nothing() -> None:
    condition = Condition()
    found = [judged(condition, clipped=500 * (second in (0, 20, 40))) for second in range(60)]
    assert found == [None] * 60


def test_silence_is_a_fault_after_three_seconds_unless_it_is_allowed() -> None:
    condition = Condition()
    assert judged(condition, silent_s=2) is None
    assert judged(condition, silent_s=3) == DEAD
    level = Level(-100, -100, 0, 60)
    assert condition.judge(level, None, may_be_silent=True) is None


def test_channels_that_cancel_each_other_are_not_called_muted() -> None:
    found = Condition().judge(Level(-100, -100, 0, 60), "set capture.channel", may_be_silent=False)
    assert found is not None
    assert (found.state, found.advice) == ("two channels in opposite phase", "set capture.channel")
