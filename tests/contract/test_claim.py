"""Only one of two conversations begins that are started at the same moment on one bus directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from commands import claim as claims
from commands.claim import claim
from shared import config
from shared.exit_codes import RUNNING
from shared.lock import AlreadyRunning, take_lock

pytestmark = pytest.mark.contract


@pytest.fixture
def claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the descriptor of a claim of ``tmp_path`` that lasts."""
    monkeypatch.setattr(claims, "ENDING_S", 0.3)
    tmp_path.chmod(0o700)
    return take_lock(claims.NAME, tmp_path)


def test_the_second_one_is_refused_in_one_line(tmp_path: Path, claimed: int) -> None:
    with pytest.raises(AlreadyRunning, match=rf"conversation is .* \(pid {os.getpid()}\): end it"):
        claim(tmp_path)
    os.close(claimed)


def test_one_that_is_just_ending_is_waited_for(tmp_path: Path, claimed: int) -> None:
    ending = threading.Timer(claims.AGAIN_S / 2, os.close, [claimed])
    ending.start()
    claim(tmp_path)
    ending.join()


def test_named_stages_may_join_a_conversation(tmp_path: Path, claimed: int) -> None:
    claim(tmp_path, ["-f", "Procfile", "playback"])
    os.close(claimed)


@pytest.mark.parametrize("command", [["start", "--emulator"], ["demo"]])
def test_a_command_says_so_and_starts_nothing(
    tmp_path: Path, claimed: int, command: list[str]
) -> None:
    where = ["--out", str(tmp_path)] if command == ["demo"] else []
    done = subprocess.run(
        [sys.executable, "-m", "commands", *command, *where],
        cwd=config.ROOT,
        env={**os.environ, "BARGEIN_BUS__DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(claimed)
    assert done.returncode == RUNNING
    assert done.stdout == ""
    assert done.stderr.startswith(f"{command[0]}: a conversation is already running on {tmp_path}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.wav"))


def test_standard_streams_that_were_closed_go_nowhere() -> None:
    """A socket of a stage must not get the number of standard output."""
    program = (
        "import sys; from shared.printable import filter_output; filter_output();"
        "print('lost'); print('lost', file=sys.stderr); assert sys.stdin.read() == '';"
        "import os, socket; assert all(os.get_inheritable(number) for number in range(3));"
        "sys.exit(0 if socket.socket().fileno() > 2 else 5)"
    )
    closed = ["sh", "-c", f"exec '{sys.executable}' -c \"$1\" <&- >&- 2>&-", "sh", program]
    assert subprocess.run(closed, cwd=config.ROOT, check=False).returncode == 0
