"""The file that says which server has accepted which key, so that a restarted link knows it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.private import replace_own

NAME = "link.worked"


class Worked:
    """Whether a server has accepted a key before, in this process or in one before it.

    The file is in the bus directory. It holds a digest of the address and the key: nobody can read
    the key from it.
    """

    def __init__(self, directory: Path, url: str, key: str) -> None:
        self._path = directory / NAME
        self._digest = hashlib.sha256(f"{url}\n{key}".encode()).hexdigest().encode()
        try:
            with self._path.open("rb") as file:
                self.ever = file.read(len(self._digest) + 1) == self._digest
        except OSError:
            self.ever = False

    def remember(self) -> None:
        """Note that the server has accepted the key."""
        if self.ever:
            return
        self.ever = True
        try:
            replace_own(self._path, self._digest)
        except OSError:
            pass  # A full disk: this process knows it, and the next one learns it again.
