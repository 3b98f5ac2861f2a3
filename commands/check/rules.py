"""A rule of a check, and the verdict on it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: The verdict's words if a stage published something that the kit does not expect.
STUMBLED = "the kit could not make sense of what came"


class Broken(Exception):
    """Raised when the stage broke a rule; the text says what was seen."""


class Doubtful(Exception):
    """Raised when no rule was broken, but the stage's author should look; the text says at what."""


class NotTried(Exception):
    """Raised when a rule could not be tried; the text says why."""


class Outcome(enum.Enum):
    """The verdicts on a rule. Only FAILED means that the rule was broken."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Rule:
    """One rule that a stage has to follow."""

    name: str
    promise: str
    """The rule as a clause without its subject, for the report: "plays a reply as it came"."""
    check: Callable[[], str]
    """Return what was seen. Raise Broken, Doubtful or NotTried."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one rule, with what was seen."""

    rule: str
    promise: str
    outcome: Outcome
    seen: str

    def line(self) -> str:
        """Return the verdict as one line of the report."""
        said = f"{self.outcome.value:<9}  {self.rule:<13} {self.promise}"
        return f"{said}: {self.seen}" if self.seen else said


def needed(value: T | None) -> T:
    """Return what an earlier rule found. Raise NotTried if that rule found nothing."""
    if value is None:
        raise NotTried("an earlier rule failed, and this one goes on from there")
    return value


def not_tried(rule: Rule, why: str) -> Verdict:
    """Return the verdict on a rule that is not tried."""
    return Verdict(rule.name, rule.promise, Outcome.NOT_TRIED, why)


def judge(rule: Rule) -> Verdict:
    """Try one rule, and return the verdict.

    An error in the kit itself comes from a message that the kit did not expect: the rule has
    failed, and the other rules are tried.
    """
    try:
        outcome, seen = Outcome.OK, rule.check()
    except Broken as error:
        outcome, seen = Outcome.FAILED, str(error)
    except Doubtful as error:
        outcome, seen = Outcome.WARNING, str(error)
    except NotTried as error:
        outcome, seen = Outcome.NOT_TRIED, str(error)
    except Exception as error:  # noqa: BLE001 - see above
        outcome, seen = Outcome.FAILED, f"{STUMBLED}: {error!r}"
    return Verdict(rule.name, rule.promise, outcome, seen)
