"""Ends what the tests of this ring started, should the tests be gone themselves.

Run as a program of its own, in a session of its own. Its standard input ends when the tests do,
however they end: then every process group it was told of (``+123``, ``-123`` once that one has
ended), and every process that carries the tests' token in its environment, is killed, and every
directory it was told of (``/tmp/…``) removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

#: The environment variable with the token; everything a test starts inherits it.
VARIABLE = "PROCESS_RING_TOKEN"


def bearers(token: str) -> list[int]:
    """Give the living processes whose token begins so, where the system tells of it (Linux)."""
    found = []
    wanted = f"{VARIABLE}={token}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another user's
        if any(variable.startswith(wanted) for variable in variables):
            found.append(int(entry.name))
    return found


def main(token: str) -> None:
    """Wait for the end of the tests, then kill."""
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
    # twice: what was about to start another process has done so by now
    for pid in (*bearers(token), *bearers(token)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
