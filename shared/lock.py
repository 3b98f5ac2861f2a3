"""The lock of a stage: at most one process per bus directory runs as a stage.

Binding an ipc address that is in use takes the address from its owner without an error. So a
process takes the stage's lock before it binds. From a shell, ``flock -n <directory>/<stage>.lock
COMMAND`` does the same.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.directory import BusError, unwritable
from shared.private import open_regular


class AlreadyRunning(Exception):
    """Raised when another process holds a stage's lock. ``pid``: that process, as a text."""

    def __init__(self, text: str, pid: str = "") -> None:
        super().__init__(text)
        self.pid = pid


def how_to_end(command: str) -> str:
    """Return the advice for AlreadyRunning. ``command`` ends the other process."""
    return f"end it with '{command}' (bin/bargein in a checkout), or set another bus.directory"


def is_in_place(stage: str, directory: Path, descriptor: int) -> bool:
    """Return whether a stage's lock is still in its place in the directory.

    Without its file, a lock does not keep a second copy of the stage out.
    """
    try:
        return os.path.samestat((directory / f"{stage}.lock").stat(), os.fstat(descriptor))
    except OSError:
        return False


def keep_lock(stage: str, directory: Path, descriptor: int) -> int:
    """Return the descriptor of a stage's lock: a new one if the lock's file was removed.

    Raises as take_lock does: AlreadyRunning if a second copy of the stage has taken the lock.
    """
    if is_in_place(stage, directory, descriptor):
        return descriptor
    again = take_lock(stage, directory)
    os.close(descriptor)
    return again


def take_lock(stage: str, directory: Path) -> int:
    """Take a stage's lock for as long as this process lives. Return the lock's file descriptor.

    Raises AlreadyRunning, with the pid of the process that has the lock, and BusError if the lock's
    file cannot be opened.
    """
    path = directory / f"{stage}.lock"
    try:
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    except OSError as error:
        raise BusError(f"{path}: {error.strerror}: remove it or set bus.directory") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunning(
            f"{stage} is already running (pid {holder}): {how_to_end(f'bargein stop {stage}')}",
            holder,
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(descriptor)
        raise unwritable(path, error) from None
    return descriptor
