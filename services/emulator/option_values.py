"""Readers of the values on the command line.

A reader takes the text of a value and returns the value. argparse turns a ValueError into one line
that contains the reader's ``__name__``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from services.emulator.options import GARBAGE, Stall

_N = TypeVar("_N", int, float)


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``."""
    return _within(float, "number", low, high, f"{low:g} to {high:g}")


def count(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""
    return _within(int, "whole number", low, high, f"{low} to {high}")


def _within(
    kind: Callable[[str], _N], name: str, low: _N, high: _N, limits: str
) -> Callable[[str], _N]:
    def read(text: str) -> _N:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {limits}")
        return value

    read.__name__ = name
    return read


#: Reads a time in ms, of at most an hour.
milliseconds = count(0, 3_600_000)


def sizes(text: str) -> tuple[int, ...]:
    """Return the sizes in a list of byte counts."""
    return tuple(count(1, 1 << 20)(part) for part in text.split(","))


sizes.__name__ = "list of byte counts"


def stall(text: str) -> Stall:
    """Return the pause that ``AFTER:FOR`` describes."""
    after, _, duration = text.partition(":")
    return Stall(milliseconds(after), milliseconds(duration))


stall.__name__ = "AFTER:FOR in ms"


def garbage(text: str) -> tuple[str, ...]:
    """Return the kinds of garbage in a list; all of them for ``all``."""
    kinds = GARBAGE if text == "all" else tuple(text.split(","))
    for kind in kinds:
        if kind not in GARBAGE:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of all, {', '.join(GARBAGE)}")
    return kinds


def event_type(text: str) -> str:
    """Return the type of a server event, after a check."""
    if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no type of an event: write response.done")
    return text


def reply(text: str) -> str:
    """Return what the assistant says, after a check."""
    kind, _, argument = text.partition(":")
    if kind == "tone":
        number(0.1, 600)(argument)
    elif not (text == "speech" or (kind == "clip" and argument)):
        raise argparse.ArgumentTypeError(f"{text!r} is none of speech, tone:<seconds>, clip:<name>")
    return text
