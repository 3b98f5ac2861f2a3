"""What puts the conversation to sleep, what wakes it, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from harness.owner import StandIn
from services.downlink.limits import LimitWatch
from services.downlink.sleeping import CLOSE_NS, Sleeping
from shared import messages
from shared.config import Limits

pytestmark = pytest.mark.unit

S = 1_000_000_000


class Downlink(StandIn):
    """A stage with a sleep, and what the sleep did."""

    def __init__(self, **limits: Any) -> None:
        super().__init__()
        self.did: list[str] = []
        watch = LimitWatch(Limits(**limits))
        self.sleeping = Sleeping(
            self,
            watch,
            cut=lambda: self.did.append("cut"),
            farewell=lambda: self.did.append("farewell"),
        )

    @property
    def sleeps(self) -> list[messages.Sleep]:
        """The messages that were published."""
        return [said for said in self.published if isinstance(said, messages.Sleep)]

    def stop(self) -> None:
        self.did.append("stop")

    def link(self, state: Any, now_s: float, cause: Any = "") -> None:
        self.sleeping.link(messages.LinkState(state=state, cause=cause), round(now_s * S))

    def step(self, now_s: float) -> None:
        self.sleeping.step(round(now_s * S), 0, busy=False)


def speech(at_s: float) -> messages.Speech:
    return messages.Speech(speaking=True, at_ns=round(at_s * S))


def test_a_button_wakes_it_and_the_next_session_hears_what_is_said_from_then_on() -> None:
    stage = Downlink()
    stage.link("open", 0)
    stage.sleeping.command("sleep", 0, S)
    stage.step(1)
    assert [(p.asleep, p.cause) for p in stage.sleeps] == [(False, ""), (True, "asked")]
    stage.sleeping.speech(speech(2), 2 * S)
    stage.sleeping.command("interrupt", 2 * S, 2 * S)
    assert stage.sleeping.asleep
    stage.sleeping.command("talk", 3 * S, 3 * S)
    assert stage.sleeps[-1] == messages.Sleep(asleep=False, since_ns=3 * S)


@pytest.mark.parametrize("command", ["wake", "type"])
def test_a_wake_during_the_reply_that_the_sleep_cuts_off_counts(command: str) -> None:
    stage = Downlink()
    stage.link("open", 0)
    stage.sleeping.command("sleep", 0, S)
    stage.sleeping.step(S, 0, busy=True)
    assert stage.did == ["cut"]
    stage.sleeping.command(command, 0, S)
    stage.step(2)
    assert not stage.sleeping.asleep
    assert [p.asleep for p in stage.sleeps] == [False, False]


@pytest.mark.parametrize("command", ["wake", "type", "say"])
def test_a_typed_line_wakes_it_without_the_microphone(command: str) -> None:
    stage = Downlink()
    stage.link("asleep", 0, "idle")
    stage.sleeping.command(command, S, S)
    assert stage.sleeps[-1] == messages.Sleep(asleep=False)


def test_only_speech_that_began_during_the_sleep_wakes_it() -> None:
    stage = Downlink(idle_minutes=1)
    stage.link("open", 0)
    stage.step(60)
    stage.sleeping.speech(speech(59), 61 * S)
    assert stage.sleeping.asleep
    stage.sleeping.speech(speech(62), 62 * S)
    assert stage.sleeps[-1] == messages.Sleep(asleep=False, since_ns=62 * S)


def test_a_restarted_downlink_goes_on_sleeping_as_link_does() -> None:
    stage = Downlink()
    stage.link("asleep", 0, "limit")
    assert stage.sleeps[-1].asleep
    stage.sleeping.speech(speech(1), S)
    assert stage.sleeping.asleep


def test_a_link_that_does_not_know_of_the_sleep_changes_nothing() -> None:
    stage = Downlink(idle_minutes=1)
    stage.link("open", 0)
    stage.step(60)
    for state in ("connecting", "open"):
        stage.link(state, 61)
    assert stage.sleeping.asleep
    assert stage.sleeps[-1].asleep


def test_a_conversation_that_ends_is_closed_first_and_nothing_wakes_it() -> None:
    stage = Downlink(idle_minutes=1, then="end")
    stage.link("open", 0)
    stage.step(60)
    assert stage.sleeps[-1].asleep
    stage.sleeping.speech(speech(60.5), 60 * S)
    stage.sleeping.command("wake", 60 * S, 60 * S)
    stage.step(60.5)
    assert stage.did == []
    stage.step(60.5 + CLOSE_NS / S)
    assert stage.did == ["stop"]
