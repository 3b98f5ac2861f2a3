"""The rules about the process of a stage: its lock, a second copy, and how it ends."""

from __future__ import annotations

import fcntl
import os
import subprocess

from commands.check.bench import START_S, Bench
from commands.check.process import END_S, end
from commands.check.rules import Broken, NotTried
from commands.crashes import crashed
from shared.exit_codes import RESTART
from shared.running import holder
from shared.signals import RESTART_SIGNAL


class Lifetime:
    """Tries these rules. Each method returns what was seen, or raises Broken or NotTried."""

    def __init__(self, stage: str, bench: Bench) -> None:
        self._stage = stage
        self._bench = bench
        self._locked = False

    def lock(self) -> str:
        """Check that the process holds its lock."""
        path = self._bench.directory / f"{self._stage}.lock"
        if not path.exists():
            raise Broken(f"there is no {path.name} in the bus directory")
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._locked = True
            written = file.read(32).strip()
        if not self._locked:
            raise Broken(f"nobody holds {path.name} with flock")
        try:
            os.kill(int(written), 0)
        except (ValueError, OverflowError, ProcessLookupError):
            raise Broken(f"{path.name} holds {written!r}, which is no running process") from None
        except PermissionError:
            pass
        return f"pid {written}"

    def second_copy(self) -> str:
        """Start a second copy, which must end by itself."""
        if not self._locked:
            raise NotTried("without its lock a second copy would take the first one's endpoint")
        second = self._bench.launch(self._bench.command, subprocess.DEVNULL)
        try:
            if not self._bench.until(lambda: second.poll() is not None, START_S):
                raise Broken(f"a second copy still runs after {START_S:g} s")
        finally:
            end(second)
        if second.returncode == 0:
            raise Broken("a second copy ended with exit code 0, as if all were well")
        return f"a second copy ended with exit code {second.returncode}"

    def ends_for_restart(self) -> str:
        """Send the signal of ``bargein restart``, at which the process must end."""
        process = self._bench.process
        if process is None:
            raise NotTried("it does not run")
        # The process that holds the lock may be a child of the command.
        os.kill(holder(self._bench.directory, self._stage) or process.pid, RESTART_SIGNAL)
        if not self._bench.until(lambda: process.poll() is not None, END_S):
            raise Broken(f"it still ran {END_S:g} s after SIGUSR1, which 'bargein restart' sends")
        code = process.returncode
        if not crashed(code):
            raise Broken(
                f"it ended with exit code {code}: bin/start then ends the conversation, and does"
                f" not start the stage again; end with {RESTART}"
            )
        return f"exit code {code}"

    def ends(self) -> str:
        """Send SIGTERM, at which the process must end."""
        process = self._bench.process
        if process is None:
            raise NotTried("it does not run")
        took = end(process)
        if took >= END_S:
            raise Broken(f"it still ran {END_S:g} s after SIGTERM")
        return f"{took:.1f} s after SIGTERM"
