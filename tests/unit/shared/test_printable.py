"""The filter for printed text."""

from __future__ import annotations

import io
import json
import sys

import pytest

from shared.printable import Filtered, filter_output, printable

pytestmark = pytest.mark.unit


#: Characters that are tried together. Both halves of the surrogates begin at a multiple of it: a
#: high and a low one in the same block would be read as a pair.
BLOCK = 0x400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("naïve – “quoted” 日本語 👋", "naïve – “quoted” 日本語 👋"),
        ("\x1b[2Jgone", r"\u001b[2Jgone"),
        ("one\ntwo\r\n", r"one\u000atwo\u000d\u000a"),
        ("\x7f\x9b31m", r"\u007f\u009b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066x\u2069\u200f", r"\u2066x\u2069\u200f"),
        ("a\u2028b\u00a0c", r"a\u2028b\u00a0c"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ud800", r"\ud800"),
    ],
)
def test_characters_that_do_not_print_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_character_prints_and_json_keeps_its_meaning() -> None:
    # In blocks: a million calls would take ten seconds.
    for begin in range(0, sys.maxunicode + 1, BLOCK):
        characters = "".join(map(chr, range(begin, begin + BLOCK)))
        # JSON escapes these two, although they print.
        characters = characters.replace('"', "").replace("\\", "")
        shown = printable(characters)
        assert shown.isprintable()
        assert json.loads(f'"{shown}"') == characters
    assert printable('"\\') == '"\\'


def test_a_filtered_stream_keeps_lines_and_nothing_else() -> None:
    inner = io.StringIO()
    stream = Filtered(inner)
    print("one\n\ttwo\x1b[2J", "\u202ethree\r", file=stream, flush=True)
    assert inner.getvalue() == "one\n\ttwo\\u001b[2J \\u202ethree\\u000d\n"
    assert stream.write("\x9b") == 1
    assert not stream.isatty()


def test_output_is_filtered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = io.StringIO()
    monkeypatch.setattr(sys, "stdout", inner)
    monkeypatch.setattr(sys, "stderr", None)
    filter_output()
    filter_output()
    print("\x1b")
    assert inner.getvalue() == "\\u001b\n"
