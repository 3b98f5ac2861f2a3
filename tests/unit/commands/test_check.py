"""The parts of ``bargein check`` that need no process: verdicts and malformed messages."""

from __future__ import annotations

import pytest

from commands.check.bench import twin
from commands.check.common import malformed, minimal
from commands.check.rules import Broken, NotTried, Outcome, Rule, judge, needed, not_tried
from shared import codec, messages, registry

pytestmark = pytest.mark.unit

TYPES = sorted({topic.type for topic in registry.TOPICS}, key=lambda kind: kind.__name__)
STAMP = messages.Stamp(seq=0, epoch=1, t=0)


def broken() -> str:
    raise Broken("it was loud")


def impossible() -> str:
    raise NotTried("it does not run")


@pytest.mark.parametrize(
    ("check", "outcome", "seen"),
    [
        (lambda: "1 s", Outcome.OK, "1 s"),
        (broken, Outcome.FAILED, "it was loud"),
        (impossible, Outcome.NOT_TRIED, "it does not run"),
        (lambda: needed(None), Outcome.NOT_TRIED, "an earlier rule failed, and this one goes on"),
        (lambda: needed("found"), Outcome.OK, "found"),
    ],
)
def test_a_rule_ends_in_a_verdict(check: object, outcome: Outcome, seen: str) -> None:
    assert callable(check)
    verdict = judge(Rule("silence", "falls silent", check))
    assert (verdict.rule, verdict.outcome) == ("silence", outcome)
    assert verdict.seen.startswith(seen)
    assert verdict.line().startswith(outcome.value)


def test_a_rule_that_is_not_tried_says_why() -> None:
    line = not_tried(Rule("silence", "falls silent", broken), "the stage did not start").line()
    assert line == "not tried  silence       falls silent: the stage did not start"


def test_a_message_has_a_name_for_observers_and_one_for_consumers() -> None:
    assert (twin("flush"), twin("!flush")) == ("!flush", "flush")


@pytest.mark.parametrize("kind", TYPES)
def test_a_minimal_message_is_valid(kind: type[messages.Message]) -> None:
    message = minimal(kind)
    assert codec.decode(kind, *codec.encode(message, STAMP)) == (message, STAMP)


@pytest.mark.parametrize("kind", TYPES)
def test_a_malformed_message_is_refused_by_our_own_stages(kind: type[messages.Message]) -> None:
    for frames in malformed(kind):
        if len(frames) == 2:
            with pytest.raises(codec.BadMessage):
                codec.decode(kind, *frames)
