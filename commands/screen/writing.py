"""How lines and growing captions are written: on a terminal, and into a pipe or a file. Pure.

A terminal shows a caption while it grows. Only the last row of the screen is written again, so
nothing depends on what the terminal shows above it. A pipe gets whole lines: each sentence when it
is over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Protocol

from shared.printable import printable

#: The shortest row that is worth breaking a text into, cells.
LEAST_WIDTH = 20
#: The end of a sentence.
_SENTENCE = re.compile(r"[.!?…。！？][\"'”’)\]]*(?:\s+|$)")
#: The colours of a terminal, by what a line is.
_STYLES: Mapping[str, str] = {"you": "36", "assistant": "32", "fault": "33", "note": "2"}
#: Stands at the end of a caption that was cut off.
CUT = "…"
_BACK, _CLEAR = "\r", "\x1b[K"


def one_line(text: str) -> str:
    """Return a text that can be printed, in one line, of the same words."""
    return printable(re.sub(r"\s", " ", text))


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def rows(text: str, width: int) -> list[str]:
    """Return a text in rows of at most ``width`` cells, broken between words where possible.

    The rows together are the text: a row may end with blanks, which do not count.
    """
    found: list[str] = []
    row = ""
    for word in re.findall(r"\S+\s*|\s+", text):
        if row and cells(row) + cells(word.rstrip()) > width:
            found.append(row)
            row = ""
        while cells(word.rstrip()) > width:
            end = next(n for n in range(len(word), 0, -1) if n == 1 or cells(word[:n]) <= width)
            found.append(word[:end])
            word = word[end:]  # noqa: PLW2901 - the rest of a word that is longer than a row
        row += word
    return [*found, row] if row or not found else found


class Writer(Protocol):
    """Turns lines and captions into text for the output."""

    def line(self, text: str, style: str = "") -> str:
        """Return the text that writes a line."""

    def caption(self, key: str, label: str, text: str, *, over: bool) -> str:
        """Return the text that writes a caption as far as it has grown. ``key`` is the item's."""

    def end(self) -> str:
        """Return the text that ends the output."""


class Pipe:
    """Writes whole lines: a growing caption sentence by sentence."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}  # characters of each caption that were written

    def line(self, text: str, style: str = "") -> str:  # noqa: ARG002 - a pipe has no colours
        """Return the text that writes a line."""
        return f"{one_line(text)}\n"

    def caption(self, key: str, label: str, text: str, *, over: bool) -> str:
        """Return the text of the sentences that are over and were not written before."""
        at = self._written.get(key, 0)
        ends = [found.end() for found in _SENTENCE.finditer(text, at)]
        # A sentence that ends where the words end may go on: "3." and then "14".
        ends = [len(text)] if over else [end for end in ends if end < len(text)][-1:]
        if not ends:
            return ""
        self._written[key] = ends[0]
        if over:
            del self._written[key]
        said = one_line(text[at : ends[0]]).strip()
        return f"{label}: {said}\n" if said not in ("", CUT) else ""

    def end(self) -> str:
        """Return the text that ends the output."""
        return ""


class Terminal:
    """Writes rows, and the last row again while it grows."""

    def __init__(self, *, colours: bool) -> None:
        self.width = 80  # of the terminal, cells
        self._colours = colours
        self._key = ""  # of the caption that has the last row; "": none has it
        self._first = ""  # the label, if it stands before that row
        self._length = 0  # of that caption as it was last written, characters
        self._above: dict[str, int] = {}  # characters in the rows above the last, by caption

    def line(self, text: str, style: str = "") -> str:
        """Return the text that writes a line below the present ones."""
        lines = rows(one_line(text), max(LEAST_WIDTH, self.width))
        return self._leave() + "".join(f"{self._dress(row.rstrip(), style)}\n" for row in lines)

    def caption(self, key: str, label: str, text: str, *, over: bool) -> str:
        """Return the text that writes the last row again, and new rows where it is full."""
        text = one_line(text)
        out = self._leave() if key != self._key else ""
        at = self._above.get(key, 0)
        if self._key or text[at:].strip() not in ("", CUT):
            out += self._grow(key, label, text, at)
        if over:
            out += self._leave()
            self._above.pop(key, None)
        return out

    def end(self) -> str:
        """Return the text that ends the output: the last row stays as it is."""
        return self._leave()

    def _grow(self, key: str, label: str, text: str, at: int) -> str:
        # The label stands before the first row, and before the row with which a caption goes on.
        first = f"{label}: " if key != self._key else self._first
        at += len(text[at:]) - len(text[at:].lstrip())
        *full, last = rows(first + text[at:], max(LEAST_WIDTH, self.width - 1))
        out = ""
        for row in full:
            out += f"{_BACK}{self._labelled(row.rstrip(), first)}{_CLEAR}\n"
            first = ""
        self._key, self._first, self._length = key, first, len(text)
        self._above[key] = len(text) - len(last) + len(first)
        return f"{out}{_BACK}{self._labelled(last.rstrip(), first)}{_CLEAR}"

    def _leave(self) -> str:
        """Leave the last row as it is, and go below it."""
        if not self._key:
            return ""
        self._above[self._key] = self._length
        self._key = ""
        return "\n"

    def _labelled(self, row: str, first: str) -> str:
        label = first.partition(":")[0]
        return self._dress(label, label) + row[len(label) :]

    def _dress(self, text: str, style: str) -> str:
        code = _STYLES.get(style, "") if self._colours else ""
        return f"\x1b[{code}m{text}\x1b[0m" if code else text
