"""The rules of a check, and what came of each of them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Broken(Exception):
    """Raised by a rule that the stage broke; the text says what was seen."""


class NotTried(Exception):
    """Raised by a rule that could not be tried; the text says why."""


class Outcome(enum.Enum):
    """What came of a rule."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Rule:
    """One rule that a stage has to follow."""

    name: str
    promise: str
    """What a stage that follows the rule does, as one clause without its subject."""
    check: Callable[[], str]
    """Return what was seen. Raise Broken or NotTried."""


@dataclass(frozen=True)
class Verdict:
    """What came of one rule."""

    rule: str
    promise: str
    outcome: Outcome
    seen: str

    def line(self) -> str:
        """Return the verdict as one line of the report."""
        said = f"{self.outcome.value:<9}  {self.rule:<13} {self.promise}"
        return f"{said}: {self.seen}" if self.seen else said


def needed(value: T | None) -> T:
    """Return what an earlier rule found. Raise NotTried if that rule did not come so far."""
    if value is None:
        raise NotTried("an earlier rule failed, and this one goes on from there")
    return value


def not_tried(rule: Rule, why: str) -> Verdict:
    """Return the verdict on a rule that is not tried."""
    return Verdict(rule.name, rule.promise, Outcome.NOT_TRIED, why)


def judge(rule: Rule) -> Verdict:
    """Try one rule."""
    try:
        outcome, seen = Outcome.OK, rule.check()
    except Broken as error:
        outcome, seen = Outcome.FAILED, str(error)
    except NotTried as error:
        outcome, seen = Outcome.NOT_TRIED, str(error)
    return Verdict(rule.name, rule.promise, outcome, seen)
