"""The state of the conversation, over one whole interruption and in every other case."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.monitor.state import LINK_NS, THINKING_NS, State
from shared import messages
from shared.settings import Interruption

pytestmark = pytest.mark.unit

MS = 1_000_000
NOW = 100_000 * MS


def link(state: str) -> messages.LinkState:
    return messages.LinkState(state=state, session=1)  # type: ignore[arg-type]


def reply(*, active: bool = False, speaking: bool = False) -> messages.ReplyState:
    names = ["resp"] if active else []
    return messages.ReplyState(generation=1, session=1, active=names, items=[], speaking=speaking)


def heard(*, playing: bool) -> messages.Heard:
    return messages.Heard(generation=1, session=1, playing=playing, items=[])


def opened(**rules: object) -> State:
    state = State(Interruption(**rules))  # type: ignore[arg-type]
    state.link(link("open"), NOW)
    return state


def test_the_states_of_an_interruption() -> None:
    state = opened()
    seen: list[str] = []
    steps: list[Callable[[], None]] = [
        lambda: state.reply(reply(speaking=True), NOW),
        lambda: state.reply(reply(), NOW),
        lambda: state.reply(reply(active=True), NOW),
        lambda: state.heard(heard(playing=True)),
        lambda: state.speech(messages.Speech(speaking=True, at_ns=NOW)),
        lambda: state.reply(reply(speaking=True), NOW),
        lambda: state.heard(heard(playing=False)),
        lambda: state.reply(reply(), NOW),
    ]
    for step in steps:
        seen.append(state.now(NOW))
        step()
    assert seen == [
        "listening", "hearing", "thinking", "thinking", "speaking", "ducked", "ducked", "hearing",
    ]  # fmt: skip
    assert state.now(NOW) == "thinking"
    # no answer comes
    assert state.now(NOW + LINK_NS) == "thinking"
    state.link(link("open"), NOW + THINKING_NS)
    assert state.now(NOW + THINKING_NS) == "listening"


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ("connecting", "connecting"),
        ("waiting", "offline"),
        ("refused", "offline"),
        ("asleep", "asleep"),
    ],
)
def test_without_a_session_nothing_else_counts(told: str, word: str) -> None:
    state = opened()
    state.heard(heard(playing=True))
    state.link(link(told), NOW)
    assert state.now(NOW) == word


def test_a_link_that_is_gone_is_offline() -> None:
    assert State(Interruption()).now(NOW) == "offline"
    assert opened().now(NOW + LINK_NS + 1) == "offline"


def test_a_reply_is_lowered_until_the_limit_or_a_judgement() -> None:
    state = opened(duck_limit_ms=500)
    state.heard(heard(playing=True))
    state.speech(messages.Speech(speaking=True, at_ns=NOW))
    assert state.now(NOW + 499 * MS) == "ducked"
    assert state.now(NOW + 500 * MS) == "speaking"
    state.turn_decision(messages.TurnDecision(session=1, judged="scrap", onset_ns=NOW))
    assert state.now(NOW + 100 * MS) == "speaking"
    never = opened(decide="never")
    never.heard(heard(playing=True))
    never.speech(messages.Speech(speaking=True, at_ns=NOW))
    assert never.now(NOW) == "speaking"


def test_a_function_that_runs_shows_while_nobody_speaks() -> None:
    state = opened()
    state.tools(messages.ToolState(calls=[messages.ToolRun("call", "clock", "running")]))
    assert state.now(NOW) == "calling"
    state.heard(heard(playing=True))
    assert state.now(NOW) == "speaking"
