"""``bargein``: which module each command runs, and what it prints for a wrong name."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from commands import cli
from shared import registry

pytestmark = pytest.mark.unit


def test_every_stage_is_a_command_and_no_command_has_the_name_of_a_stage() -> None:
    stages = {*registry.PROCESSES, "emulator"}
    assert set(cli.STAGES) == stages
    assert not stages & set(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.ROWS)
def test_every_row_names_a_module(name: str) -> None:
    row = cli.ROWS[name]
    assert find_spec(row.module) is not None
    assert bool(row.summary) == (name in cli.COMMANDS)


@pytest.mark.parametrize("line", [["--help"], ["-h"], ["help"], []])
def test_the_help_text_shows_every_command(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line) == (0 if line else 2)
    out, err = capsys.readouterr()
    shown = (out if line else err).split()
    assert set(cli.ROWS) <= set(shown)
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
    assert cli.main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert hint in err
    for choice in cli.ROWS:
        assert f" {choice}" in err
