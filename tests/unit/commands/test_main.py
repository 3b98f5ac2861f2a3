"""``bargein``: which module each command runs, and what it prints for a wrong name."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from commands import __main__ as entry
from shared import registry

pytestmark = pytest.mark.unit


def test_every_stage_is_a_command_and_no_command_has_the_name_of_a_stage() -> None:
    stages = {*registry.STAGES, *registry.LISTENERS, "emulator"}
    assert set(entry.STAGES) == stages
    assert not stages & set(entry.COMMANDS)


@pytest.mark.parametrize("name", entry.ROWS)
def test_every_row_names_a_module(name: str) -> None:
    row = entry.ROWS[name]
    assert find_spec(row.module) is not None
    assert bool(row.summary) == (name in entry.COMMANDS)


@pytest.mark.parametrize("line", [["--help"], ["-h"], ["help"], []])
def test_the_help_text_shows_every_command(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(line) == (0 if line else 2)
    out, err = capsys.readouterr()
    shown = (out if line else err).split()
    assert set(entry.ROWS) <= set(shown)
    assert not (err if line else out)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tpa", "did you mean 'tap'?"),
        ("playbck", "did you mean 'playback'?"),
        ("restrat", "did you mean 'restart'?"),
        ("xyzzy", "bargein: no command 'xyzzy'. The commands are demo, start, "),
    ],
)
def test_an_unknown_command_is_one_line_with_the_choices(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert hint in err
    for choice in entry.ROWS:
        assert f" {choice}" in err
