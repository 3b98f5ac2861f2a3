"""The file that keeps the use of the day, across conversations and restarts.

The file is in the user's state directory, because the bus directory is often empty after a login.
It holds numbers only: for one day, what each server has billed. Several conversations may run at
the same time, so each adds to the file under a lock. No process waits for that lock: sums that
could not be written are written the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from services.downlink.usage_counter import plus
from shared import messages, private

NAME, LOCK = "usage.json", "usage.lock"
#: A larger file is not one of ours, bytes.
LONGEST = 256 * 1024


class Saved(msgspec.Struct, frozen=True):
    """The content of the file."""

    date: str
    servers: dict[str, messages.Spent]


class DayFile:
    """The sum of one day with one server."""

    def __init__(self, directory: Path, server: str) -> None:
        self._directory = directory
        self._server = server
        self._date = ""
        self._unwritten = messages.Spent()
        #: The sum of today, as far as it is known.
        self.day = messages.Spent()

    def look(self, date: str) -> bool:
        """Begin another day if ``date`` is one. Return whether the sums changed. Raises OSError."""
        if date == self._date:
            return False
        before, self._date = self.day, date
        self._unwritten = messages.Spent()
        self.day = messages.Spent()
        self.day = self._read().get(self._server, messages.Spent())
        return self.day != before

    def add(self, spent: messages.Spent) -> None:
        """Add a use to the sums in memory. ``write`` writes the sums to the file."""
        self._unwritten = plus(self._unwritten, spent)
        self.day = plus(self.day, spent)

    def write(self) -> None:
        """Add the new uses to the file, unless another process is doing that. Raises OSError."""
        if self._unwritten == messages.Spent():
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        lock = private.open_regular(self._directory / LOCK, flags)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                servers = self._read()
                known = servers.get(self._server, messages.Spent())
                servers[self._server] = total = plus(known, self._unwritten)
                text = msgspec.json.encode(Saved(self._date, servers))
                private.replace_own(self._directory / NAME, text)
                self._unwritten, self.day = messages.Spent(), total
        finally:
            os.close(lock)

    def _read(self) -> dict[str, messages.Spent]:
        """Return each server's sum of this day in the file; empty if there is no such file."""
        try:
            saved = msgspec.json.decode(
                private.read_file(self._directory / NAME, LONGEST), type=Saved
            )
        except (FileNotFoundError, msgspec.MsgspecError, RecursionError):
            return {}
        return saved.servers if saved.date == self._date else {}
