"""The events that the engine reports to the stage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.tools.call_queue import Job
from services.tools.offer import Offered
from shared.messages import ToolOutput


@dataclass(frozen=True)
class Done:
    """A call has ended."""

    job: Job
    output: ToolOutput
    ok: bool
    took_ms: int


@dataclass(frozen=True)
class Say:
    """A notice: a function says something without being called."""

    text: str


@dataclass(frozen=True)
class Line:
    """A line for the log."""

    text: str
    is_fault: bool = False  # a person has to do something about it


@dataclass(frozen=True)
class Offer:
    """The functions that are offered from now on, and why some sources offer none."""

    functions: Sequence[Offered]
    troubles: Sequence[str]


Event = Done | Say | Line | Offer
