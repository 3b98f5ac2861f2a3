"""Kills the processes that the tests started, when the tests have ended in any way.

The tests run this program in a session of its own and write to its standard input: ``+123`` when
the process group 123 begins, ``-123`` when the group has ended, and the path of each temporary
directory. When the tests end, this input ends. The program then kills the process groups that are
left and every process with the tests' token in its environment, and removes the directories.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

#: The environment variable with the token. Every process that a test starts inherits it.
VARIABLE = "PROCESS_RING_TOKEN"


def bearers(token: str) -> list[int]:
    """Return the running processes whose token begins with ``token``; none outside Linux."""
    found = []
    wanted = f"{VARIABLE}={token}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # the process has ended, or belongs to another user
        if any(variable.startswith(wanted) for variable in variables):
            found.append(int(entry.name))
    return found


def main(token: str) -> None:
    """Wait for the end of the tests, then kill what they left."""
    groups: set[int] = set()
    directories: list[str] = []
    for line in sys.stdin:
        match line[0]:
            case "+":
                groups.add(int(line[1:]))
            case "-":
                groups.discard(int(line[1:]))
            case _:
                directories.append(line.rstrip("\n"))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    # Twice: during the first time, a process may have started another one.
    for pid in (*bearers(token), *bearers(token)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
