"""Numbers that only grow: epochs, sessions, streams and generations.

Readers order what they read by these numbers, so a restarted stage must go on after the last number
that it published, even if the clock was set back meanwhile. A file in the bus directory keeps the
last number: it is there when no other stage runs, and it outlives the stage.
"""

from __future__ import annotations

import os
from pathlib import Path

from shared import now
from shared.private import open_regular, read_file

#: The end of the files' names.
SUFFIX = ".number"
#: A file that holds a larger number is damaged. Readers know numbers up to 2^53; this many are left
#: for numbers that are counted on from here.
LARGEST = 2**52


class Numbers:
    """The numbers of one stage, in ``<name>.number`` in the bus directory.

    A number is the wall clock in units of ``unit_ns``, or one more than the last one if the clock
    is behind that. So a number is also new where the file was removed.
    """

    def __init__(self, directory: Path, name: str, unit_ns: int = 1000) -> None:
        self._path = directory / f"{name}{SUFFIX}"
        self._unit_ns = unit_ns
        self._last = self._read()

    def next(self) -> int:
        """Return a number that is larger than all before it."""
        self.reached(max(self._last + 1, now.time_ns() // self._unit_ns))
        return self._last

    def reached(self, number: int) -> None:
        """Note that a number was published."""
        if number > self._last:
            self._last = number
            self.keep()

    def keep(self) -> None:
        """Write the last number. Does nothing if that is not possible."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        try:
            file = open_regular(self._path, flags)
            try:
                # of one length, so that no digit of an older number is left behind
                os.pwrite(file, f"{self._last:020d}\n".encode(), 0)
            finally:
                os.close(file)
        except OSError:
            pass  # The file system is full, for instance. Then the clock alone orders the numbers.

    def _read(self) -> int:
        try:
            number = int(read_file(self._path))
        except (OSError, ValueError):
            return 0
        return number if 0 < number < LARGEST else 0
