"""The one filter for printed text: a server, a device or another program may have written it.

Each process of Bargein calls ``filter_output`` first. Then everything that it prints is filtered.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any, TextIO

#: Line feeds and tabs: an output keeps them, because they break its lines and indent a traceback.
_BREAKS = re.compile(r"([\n\t]+)")


def printable(text: str) -> str:
    """Return a text with the JSON escape of each character that does not print.

    This covers control characters (C0 and C1, which begin a terminal's escape sequences), line
    breaks, characters that change the direction of writing, and all spaces but the plain one. In a
    JSON document the result means the same as the text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def printable_lines(text: str) -> str:
    """Return a text as ``printable`` does, but with its line feeds and tabs."""
    if text.isprintable():
        return text
    return "".join(p if p[:1] in ("\n", "\t") else printable(p) for p in _BREAKS.split(text))


class OneLine(logging.Formatter):
    """Formats a record of the log as one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(" ".join(super().format(record).split()))


class Filtered:
    """A text stream whose texts pass through ``printable_lines``."""

    def __init__(self, unfiltered: TextIO) -> None:
        self.unfiltered = unfiltered

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        self.unfiltered.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


def filter_output() -> None:
    """Filter what this process writes to its standard output and standard error from now on."""
    _open_missing()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Filtered):
            setattr(sys, name, Filtered(stream))


def _open_missing() -> None:
    """Open the standard streams that were closed when this process started.

    Otherwise a socket would get the descriptor, and a line that is printed would go into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor: this one
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
