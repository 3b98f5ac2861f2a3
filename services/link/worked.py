"""The file that says which server has accepted which key, so that a restarted link knows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from shared.directory import state_directory
from shared.loopback import is_loopback
from shared.private import read_file, replace_own

NAME = "link.worked"


def place(url: str, bus: Path, environment: Mapping[str, str]) -> Path:
    """Return the directory for the file: one that a reboot does not empty.

    For a server on this machine, return the bus directory: no login page of a network can answer in
    place of such a server, and an emulator must not replace what is known of a real server.
    """
    return bus if is_loopback(url) else state_directory(environment)


class Worked:
    """Whether a server has accepted a key before, in this process or in one before it.

    The file holds a digest of the address and the key: nobody can read the key from it.
    """

    def __init__(self, directory: Path, url: str, key: str) -> None:
        self._path = directory / NAME
        self._digest = hashlib.sha256(f"{url}\n{key}".encode()).hexdigest().encode()
        try:
            self.accepted_before = read_file(self._path) == self._digest
        except OSError:
            self.accepted_before = False

    def remember(self) -> None:
        """Note that the server has accepted the key."""
        if self.accepted_before:
            return
        self.accepted_before = True
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_own(self._path, self._digest)
        except OSError:
            pass  # A full disk: this process knows it, and the next one learns it again.


def find(bus: Path, url: str, key: str) -> Worked:
    """Return the record of whether a server has accepted a key."""
    return Worked(place(url, bus, os.environ), url, key)
