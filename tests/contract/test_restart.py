"""``bargein restart``: a program that does not know SIGUSR1 is asked with SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import restart

pytestmark = pytest.mark.contract

#: Takes a stage's lock, ignores the signals in its arguments, and runs for ever.
STAGE = """
import fcntl, os, signal, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(os.getpid(), file=lock, flush=True)
for number in sys.argv[2:]:
    signal.signal(int(number), signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


class Foreign:
    """A playback that another language's author wrote, and the signals that it ignores."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.process: subprocess.Popen[str] | None = None

    def start(self, *ignored: int) -> int:
        lock = self._directory / "playback.lock"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", STAGE, str(lock), *map(str, ignored)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self.process.pid

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(name="foreign")
def _foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(restart, "KNOWS_SIGNAL_S", 0.05)
    monkeypatch.setattr(restart, "RESTARTED_S", 1.0)
    directory = f"--set=bus.directory={tmp_path}"
    monkeypatch.setattr(sys, "argv", ["bargein restart", "playback", directory])
    foreign = Foreign(tmp_path)
    yield foreign
    foreign.close()


def test_a_stage_that_does_not_know_the_signal_gets_sigterm(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = foreign.start(signal.SIGUSR1)
    assert restart.main() == 1
    assert foreign.process is not None
    assert foreign.process.wait(5) == -signal.SIGTERM
    assert (
        f"playback (pid {pid}) has ended, and nothing started it again" in capsys.readouterr().err
    )


def test_a_stage_that_does_not_end_is_not_said_to_have_ended(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = foreign.start(signal.SIGUSR1, signal.SIGTERM)
    assert restart.main() == 1
    assert foreign.process is not None
    assert foreign.process.poll() is None
    said = capsys.readouterr().err
    assert f"playback (pid {pid}) still runs" in said
    assert "has ended" not in said


def test_a_stage_that_knows_the_signal_gets_no_other(
    foreign: Foreign, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign.start()
    assert restart.main() == 1
    assert foreign.process is not None
    assert foreign.process.wait(5) == -signal.SIGUSR1
    assert "has ended" in capsys.readouterr().err
