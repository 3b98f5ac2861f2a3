"""The limits of a conversation: what is done at a limit, in which order, and how long it takes."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink.limits import BEGIN_NS, LAST_LINE_NS, QUIET_NS, LimitWatch, Step
from shared.config import Limits

pytestmark = pytest.mark.unit

S = 1_000_000_000
START = 5 * S
NONE: list[tuple[float, Step]] = []


class Conversation:
    """A conversation that is looked at every half second."""

    def __init__(self, **limits: Any) -> None:
        self.limits = LimitWatch(Limits(**limits))
        self.limits.session(START, is_open=True)
        self.now_s = 0.0

    def run(self, seconds: float, *, busy: bool = False) -> list[tuple[float, Step]]:
        """Let time pass. Return the steps and when each was due, s from the beginning."""
        found = []
        for _ in range(round(seconds * 2)):
            self.now_s += 0.5
            step = self.limits.step(START + round(self.now_s * S), busy=busy)
            if step is not None:
                found.append((self.now_s, step))
        return found


def test_without_limits_a_conversation_goes_on() -> None:
    talk = Conversation()
    talk.limits.costs(10**12)
    assert talk.run(10_000) == NONE


def test_after_idle_time_it_sleeps_without_a_word() -> None:
    talk = Conversation(idle_minutes=1)
    assert talk.run(30, busy=True) == NONE
    assert talk.run(60) == [(90, Step.CLOSE)]
    assert (talk.limits.asleep, talk.limits.cause) == (True, "idle")
    assert "limits.idle_minutes = 1" in talk.limits.reason
    assert "speak" in talk.limits.reason
    assert talk.run(1000) == NONE


def test_time_without_a_session_is_not_idle_time() -> None:
    limits = LimitWatch(Limits(idle_minutes=1))
    assert limits.step(1000 * S, busy=False) is None  # the server was not reachable so far
    limits.session(1000 * S, is_open=True)
    assert limits.step(1059 * S, busy=False) is None
    limits.session(1059 * S, is_open=False)
    assert limits.step(2000 * S, busy=False) is None
    limits.session(2000 * S, is_open=True)
    assert limits.step(2000 * S, busy=False) is None
    assert limits.step(2001 * S, busy=False) is Step.CLOSE


def test_at_the_limit_the_reply_finishes_and_the_assistant_says_goodbye() -> None:
    talk = Conversation(max_minutes=1, finish_s=20)
    assert talk.run(70, busy=True) == NONE
    assert talk.run(0.5) == [(70.5, Step.FAREWELL)]
    assert talk.run(1) + talk.run(4, busy=True) == NONE
    assert talk.run(1) == [(76, Step.CLOSE)]


def test_a_reply_without_an_end_is_cut() -> None:
    talk = Conversation(max_minutes=1, finish_s=20, farewell="")
    assert talk.run(100, busy=True) == [(80, Step.CUT), (80.5, Step.CLOSE)]


def test_the_assistant_says_goodbye_also_after_its_reply_was_cut() -> None:
    talk = Conversation(max_minutes=1, finish_s=20)
    assert talk.run(81, busy=True) == [(80, Step.CUT)]
    assert talk.run(0.5) == [(81.5, Step.FAREWELL)]
    end = 82 + LAST_LINE_NS / S
    assert talk.run(100, busy=True) == [(end, Step.CUT), (end + 0.5, Step.CLOSE)]


def test_nobody_puts_a_limit_off_by_speaking_on() -> None:
    talk = Conversation(max_minutes=1, finish_s=20)
    quiet = 80 + QUIET_NS / S
    assert talk.run(100, busy=True) == [(80, Step.CUT), (quiet, Step.CLOSE)]


def test_a_goodbye_that_never_comes_is_not_awaited() -> None:
    talk = Conversation(max_minutes=1)
    assert talk.run(100) == [(60, Step.FAREWELL), (60.5 + BEGIN_NS / S, Step.CLOSE)]


def test_a_goodbye_without_an_end_is_cut() -> None:
    talk = Conversation(max_minutes=1)
    talk.run(60)
    end = 60.5 + LAST_LINE_NS / S
    assert talk.run(100, busy=True) == [(end, Step.CUT), (end + 0.5, Step.CLOSE)]


def test_the_money_is_a_limit_and_speech_does_not_wake_that_sleep() -> None:
    talk = Conversation(max_cost=0.5, farewell="")
    talk.limits.costs(499_999)
    assert talk.run(1) == NONE
    talk.limits.costs(500_000)
    assert talk.run(1) == [(1.5, Step.CLOSE)]
    assert not talk.limits.wakes_on_speech
    assert "speak" not in talk.limits.reason
    # Awake again, the limit counts anew.
    talk.limits.wake(START + 2 * S)
    assert talk.run(10) == NONE
    talk.limits.costs(1_000_000)
    assert [step for _, step in talk.run(1)] == [Step.CLOSE]


@pytest.mark.parametrize(
    ("chosen", "cause", "wakes"),
    [
        ("idle", "idle", True),
        ("idle", "limit", False),
        ("idle", "asked", False),
        ("always", "limit", True),
        ("always", "asked", True),
        ("never", "idle", False),
    ],
)
def test_speech_ends_the_sleeps_that_the_setting_names(
    chosen: Any, cause: Any, *, wakes: bool
) -> None:
    talk = Conversation(wake_on_speech=chosen)
    talk.limits.adopt(cause)
    assert talk.limits.wakes_on_speech is wakes


def test_somebody_who_asks_for_sleep_gets_it_at_once() -> None:
    talk = Conversation()
    talk.run(1)
    talk.limits.ask(START + S)
    assert talk.run(10, busy=True) == [(1.5, Step.CUT), (2, Step.CLOSE)]
    assert talk.limits.cause == "asked"


def test_a_person_who_speaks_at_the_last_moment_is_not_idle() -> None:
    talk = Conversation(idle_minutes=1)
    talk.run(59.5)
    assert talk.run(60, busy=True) == NONE
    assert not talk.limits.cause


def test_time_without_a_session_does_not_count_as_minutes() -> None:
    talk = Conversation(max_minutes=1, farewell="")
    talk.run(30)
    talk.limits.session(START + 30 * S, is_open=False)
    assert talk.run(1000) == NONE
    talk.limits.session(START + 1030 * S, is_open=True)
    assert talk.run(60) == [(1060, Step.CLOSE)]


def test_a_conversation_can_end_instead() -> None:
    talk = Conversation(idle_minutes=1, then="end")
    assert talk.run(60) == [(60, Step.CLOSE)]
    assert talk.limits.ends
    assert talk.limits.reason.startswith("the conversation has ended")
    # A person who puts it to sleep does not want it to end.
    asked = Conversation(then="end")
    asked.limits.ask(START)
    assert not asked.limits.ends
