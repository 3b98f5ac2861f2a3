"""A stage's place on the bus: the directory, the stage's lock in it, and its endpoints."""

from __future__ import annotations

import os
from pathlib import Path

from shared.bus import Publisher
from shared.directory import prepare_directory
from shared.lock import is_in_place, keep_lock, take_lock


class Place:
    """The bus directory with a stage's lock, for as long as the stage runs.

    Raises AlreadyRunning if another process holds the lock, and BusError if the directory or the
    lock's file cannot be made.
    """

    def __init__(self, stage: str, directory: Path) -> None:
        self._stage = stage
        self.directory = prepare_directory(directory)
        self._lock = take_lock(stage, self.directory)

    def restore(self, publisher: Publisher) -> bool:
        """Make the files again that a logout or a cleaner of /tmp has removed.

        Return whether any was removed. Without them, new readers would not find this stage, and a
        second copy would not be refused. Raises AlreadyRunning if a second copy runs, and BusError
        if the place cannot be kept.
        """
        removed = publisher.removed
        if not removed and is_in_place(self._stage, self.directory, self._lock):
            return False
        # Somebody else may have made a directory of this name.
        prepare_directory(self.directory)
        self._lock = keep_lock(self._stage, self.directory, self._lock)
        publisher.bind_again(removed)
        return True

    def close(self) -> None:
        """Release the lock, so that the next copy of the stage may start."""
        os.close(self._lock)
