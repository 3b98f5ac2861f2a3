"""The leash of a program that the tools stage starts: the program ends with the stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from services.tools import leash
from tests.support.pipeline import settled

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
#: A program that ignores the end of its input and SIGTERM, and has started another one.
STUBBORN = "trap '' TERM HUP; sleep 1000 & echo $!; sleep 1000"


def leashed(*command: str) -> subprocess.Popen[bytes]:
    """Start a command on a leash, as the MCP library does."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_a_stubborn_program_and_what_it_started_end_with_their_input() -> None:
    with leashed("sh", "-c", STUBBORN) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        started = int(program.stdout.readline())
        os.killpg(program.pid, signal.SIGTERM)
        assert program.poll() is None
        program.stdin.close()
        assert program.wait() == -signal.SIGKILL
        assert settled(lambda: not psutil.pid_exists(started))


def test_a_signal_at_the_start_does_not_end_the_guard() -> None:
    """The guard is delayed before it ignores the signals, as on a busy machine."""
    code = (
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from services.tools import leash\n"
        "ignore = signal.signal\n"
        "def late(*of):\n"
        "    time.sleep(0.2)  # as long as a busy machine may take\n"
        "    ignore(*of)\n"
        "leash.signal.signal = late\n"
        "leash.guard()\n"
        f"os.execvp('sh', ['sh', '-c', {STUBBORN!r}])\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        os.killpg(program.pid, signal.SIGTERM)
        program.stdin.close()
        try:
            assert program.wait(10) == -signal.SIGKILL
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def test_a_program_that_ends_at_the_end_of_its_input_keeps_its_exit_code() -> None:
    with leashed("sh", "-c", "cat; sleep 1000 >&- & echo $!; exit 3") as program:
        output, _ = program.communicate(b"read\n")
        assert program.returncode == 3
        [read, started] = output.split()
        assert read == b"read"
        assert settled(lambda: not psutil.pid_exists(int(started)))


def test_a_command_that_is_missing_is_one_line() -> None:
    with leashed("no-such-command") as program:
        assert program.wait() == 127
