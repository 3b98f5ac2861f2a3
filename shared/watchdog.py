"""Reports that the loop of a stage still turns, to the process that watches over the stage.

The protocol is systemd's (sd_notify(3)): lines of text in datagrams to the socket that
``$NOTIFY_SOCKET`` names. systemd and the launcher both listen, and restart a stage that hangs.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

#: The environment variable with the address of the socket. "@" stands for an abstract one.
VARIABLE = "NOTIFY_SOCKET"
READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


class Reporter:
    """Sends reports; does nothing if nobody watches. Never blocks."""

    def __init__(self) -> None:
        self._address = os.environ.get(VARIABLE, "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def say(self, *lines: str) -> None:
        """Send a report of one or more lines."""
        if self._address:
            with suppress(OSError):  # the watching process may be gone, or read slowly
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Watch:
    """The other end, for one process: notes when its loop was last seen to turn.

    A process that has reported once hangs if its next report takes longer than ``patience_s``.
    """

    def __init__(self, path: Path, patience_s: float) -> None:
        self.address = str(path)
        self._patience_s = patience_s
        self._last_s: float | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind(self.address)

    def hangs(self, now_s: float) -> bool:
        """Read the reports, and return whether the process hangs."""
        with suppress(BlockingIOError):
            while report := self._socket.recv(4096):
                lines = report.decode("ascii", "replace").split("\n")
                self._last_s = None if STOPPING in lines else now_s
        return self._last_s is not None and now_s - self._last_s > self._patience_s

    def begin(self, now_s: float) -> None:
        """Count from now, if the process has reported before."""
        if self._last_s is not None:
            self._last_s = now_s

    def forget(self) -> None:
        """Expect nothing until the next report: another process begins."""
        with suppress(BlockingIOError):
            while self._socket.recv(4096):
                pass
        self._last_s = None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
