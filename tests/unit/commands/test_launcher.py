"""When the launcher starts a stage again, and after what delay."""

from __future__ import annotations

import datetime as dt
import io
import signal

import pytest
from honcho.printer import Message, Printer

from commands import crashes, launcher
from shared import exit_codes
from shared.printable import Filtered


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (exit_codes.DONE, False),
        (exit_codes.FAILED, False),
        (exit_codes.BAD_CONFIG, False),
        (exit_codes.RUNNING, False),
        (127, False),  # the shell did not find the program
        (exit_codes.CRASHED, True),
        (exit_codes.RESTART, True),
        (-signal.SIGKILL, True),
        (-signal.SIGSEGV, True),
        (128 + signal.SIGABRT, True),
    ],
)
def test_only_a_stage_that_crashed_is_started_again(code: int, again: bool) -> None:
    assert crashes.crashed(code) == again


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = crashes.Delays()
    found = [delays.after(exit_codes.CRASHED, 1.0) for _ in range(12)]
    assert found[:4] == [0.2, 0.4, 0.8, 1.6]
    assert found == sorted(found)
    assert found[-1] == crashes.MOST_S


def test_a_stage_that_ran_for_long_begins_with_the_first_delay() -> None:
    delays = crashes.Delays()
    for _ in range(5):
        delays.after(exit_codes.CRASHED, 1.0)
    assert delays.after(exit_codes.CRASHED, crashes.STEADY_S + 1) == crashes.FIRST_S
    assert delays.after(exit_codes.CRASHED, 1.0) == 2 * crashes.FIRST_S


def test_a_restart_that_somebody_asked_for_is_at_once_and_counts_as_no_crash() -> None:
    delays = crashes.Delays()
    assert delays.after(exit_codes.RESTART, 1.0) == 0.0
    assert delays.after(exit_codes.CRASHED, 1.0) == crashes.FIRST_S


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", [b"said \x1b[2J\xe2\x80\xae\xff\n", "said \x1b[2J\u202e\ufffd\n"])
def test_a_line_of_a_stage_is_filtered_and_the_colours_stay(text: bytes | str) -> None:
    terminal = _Terminal()
    stages = launcher.Launcher(Printer(Filtered(terminal)))
    stages._print(Message("line", text, dt.datetime.now(dt.UTC), "link", "31"))
    written = terminal.getvalue()
    assert written.startswith("\x1b[0m\x1b[31m")
    assert written.endswith("| \x1b[0msaid \\u001b[2J\\u202e\ufffd\n")
