"""The processes that hold the locks of the stages: who runs on a bus directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared import registry
from shared.private import open_regular

#: The time between two checks of a lock, s: too short for a person to notice.
LOOK_S = 0.02


def holder(directory: Path, stage: str) -> int:
    """Return the pid of the process that holds a stage's lock; 0 if no process holds it."""
    try:
        with os.fdopen(open_regular(directory / f"{stage}.lock")) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read(32).strip() or 0)
    except (OSError, ValueError):
        pass  # There is no lock, or a process is just writing its pid into it.
    return 0


def holders(directory: Path) -> dict[str, int]:
    """Return the pid of the process that holds the lock of each stage that runs."""
    found = {name: holder(directory, name) for name in registry.PROCESSES}
    return {name: pid for name, pid in found.items() if pid}
