"""How growing captions look on a terminal, and in a pipe."""

from __future__ import annotations

import pytest

from commands.screen.writing import Pipe, Terminal, cells, rows

pytestmark = pytest.mark.unit

TEXT = "A lighthouse is a tower with a lamp at the top. Its beam turns, so most ships see it."


def screen(text: str) -> list[str]:
    """Return what a terminal shows after this output, without colours."""
    shown = [""]
    for part in text.replace("\n", "\0\n\0").replace("\r", "\0\r\0").split("\0"):
        if part == "\n":
            shown.append("")
        elif part != "\r" and part:
            new = part.removesuffix("\x1b[K")
            shown[-1] = new if part != new else new + shown[-1][len(new) :]
            assert "\x1b" not in shown[-1]
    return shown


def grow(writer: Pipe | Terminal, text: str, first: int = 1, key: str = "item") -> str:
    """Return what a caption writes that grows by a word at a time, up to the text."""
    words = text.split(" ")
    parts = [" ".join(words[:end]) for end in range(first, len(words) + 1)]
    return "".join(writer.caption(key, "assistant", part, over=False) for part in parts)


@pytest.mark.parametrize("width", [21, 40, 80, 200])
def test_a_caption_that_grew_looks_like_one_that_came_at_once(width: int) -> None:
    terminal, other = Terminal(colours=False), Terminal(colours=False)
    terminal.width = other.width = width
    out = grow(terminal, TEXT) + terminal.caption("item", "assistant", TEXT, over=True)
    shown = screen(out)
    assert shown == screen(other.caption("item", "assistant", TEXT, over=True))
    assert " ".join(row.strip() for row in shown).strip() == f"assistant: {TEXT}"
    assert max(map(len, shown)) < width


def test_a_line_in_the_midst_leaves_the_caption_as_it_was_and_the_caption_goes_on() -> None:
    terminal = Terminal(colours=False)
    terminal.width = 40
    out = grow(terminal, "A lighthouse is a tower")
    out += terminal.line("! link: lost")
    out += terminal.caption("other", "you", "What?", over=True)
    out += grow(terminal, TEXT, 6)
    out += terminal.caption("item", "assistant", TEXT, over=True) + terminal.end()
    assert screen(out) == [
        "assistant: A lighthouse is a tower",
        "! link: lost",
        "you: What?",
        "assistant: with a lamp at the top. Its",
        "beam turns, so most ships see it.",
        "",
    ]


def test_a_terminal_that_becomes_narrower_gets_narrower_rows() -> None:
    terminal = Terminal(colours=False)
    out = grow(terminal, "A lighthouse is a tower with a lamp")
    terminal.width = 30
    out += terminal.caption("item", "assistant", TEXT, over=True)
    assert max(map(len, screen(out))) < 30
    assert " ".join(screen(out)).strip() == f"assistant: {TEXT}"


def test_a_correction_shows_in_the_last_row() -> None:
    terminal = Terminal(colours=False)
    out = terminal.caption("item", "you", "What is a life", over=False)
    out += terminal.caption("item", "you", "What is a lighthouse?", over=True)
    assert screen(out) == ["you: What is a lighthouse?", ""]


def test_colours_are_for_the_name() -> None:
    terminal = Terminal(colours=True)
    out = terminal.caption("item", "you", "Hello", over=True)
    assert out == "\r\x1b[36myou\x1b[0m: Hello\x1b[K\n"


@pytest.mark.parametrize("writer", [Pipe(), Terminal(colours=False)])
def test_nothing_of_a_server_reaches_the_terminal(writer: Pipe | Terminal) -> None:
    evil = "a\x1b[2J\r\nb\x9b\u202ec"
    out = writer.caption("item", "assistant", evil, over=True) + writer.line(evil)
    assert not {"\x1b[2", "\x9b", "\u202e"} & {out[i : i + 3] for i in range(len(out))}
    assert out.count("\n") == 2


def test_a_pipe_gets_each_sentence_when_it_is_over() -> None:
    pipe = Pipe()
    assert grow(pipe, "It costs 3.50. No more") == "assistant: It costs 3.50.\n"
    whole = "It costs 3.50. No more than that"
    assert pipe.caption("item", "assistant", whole, over=True) == "assistant: No more than that\n"
    assert "\r" not in pipe.line("a line")


def test_rows_are_the_text() -> None:
    text = "one  two " + "x" * 50 + " 日本語の長い文です three"
    found = rows(text, 20)
    assert "".join(found) == text
    assert all(cells(row.rstrip()) <= 20 for row in found)
    assert rows("", 20) == [""]
