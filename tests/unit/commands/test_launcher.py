"""When the launcher starts a stage again, and after which delay."""

from __future__ import annotations

import signal

import pytest

from commands import launcher
from shared import stage


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (stage.DONE, False),
        (stage.FAILED, False),
        (stage.BAD_CONFIG, False),
        (stage.RUNNING, False),
        (127, False),  # the shell did not find the program
        (stage.CRASHED, True),
        (stage.RESTART, True),
        (-signal.SIGKILL, True),
        (-signal.SIGSEGV, True),
        (128 + signal.SIGABRT, True),
    ],
)
def test_only_a_stage_that_crashed_is_started_again(code: int, again: bool) -> None:
    assert launcher.crashed(code) == again


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = launcher.Delays()
    found = [delays.after(stage.CRASHED, 1.0) for _ in range(12)]
    assert found[:4] == [0.2, 0.4, 0.8, 1.6]
    assert found == sorted(found)
    assert found[-1] == launcher.MOST_S


def test_a_stage_that_ran_for_long_begins_with_the_first_delay() -> None:
    delays = launcher.Delays()
    for _ in range(5):
        delays.after(stage.CRASHED, 1.0)
    assert delays.after(stage.CRASHED, launcher.STEADY_S + 1) == launcher.FIRST_S
    assert delays.after(stage.CRASHED, 1.0) == 2 * launcher.FIRST_S


def test_a_restart_that_somebody_asked_for_is_at_once_and_counts_as_no_crash() -> None:
    delays = launcher.Delays()
    assert delays.after(stage.RESTART, 1.0) == 0.0
    assert delays.after(stage.CRASHED, 1.0) == launcher.FIRST_S
