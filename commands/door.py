"""The door of a running conversation, as the commands use it: over its Unix socket.

docs/door.md describes the door. The standard library is enough for it.
"""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from shared.door import SOCKET
from shared.running import holders

#: How long the door may take to answer, s: longer than monitor itself waits for an outcome.
PATIENCE_S = 6.0
#: How long a command waits for the door of a conversation that is starting, s, and how often it
#: checks. On a busy machine, monitor starts some seconds after the first stages.
START_S, LOOK_S = 5.0, 0.05


class NoDoor(Exception):
    """Raised when the door cannot be used. Its text is the one line that is shown."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def connect(directory: Path) -> http.client.HTTPConnection:
    """Return a connection to the door of the conversation on a bus. Raises NoDoor."""
    connection = _Connection(directory / SOCKET, PATIENCE_S)
    end = time.monotonic() + START_S
    while True:
        try:
            connection.connect()
        except OSError:
            if time.monotonic() < end and holders(directory):
                time.sleep(LOOK_S)
                continue
            raise NoDoor(
                f"no monitor runs on {directory}: start a conversation, or 'bargein monitor'"
            ) from None
        return connection


def send(directory: Path, command: dict[str, Any]) -> tuple[bool, str]:
    """Send a person's command; return whether it was done, and its outcome. Raises NoDoor."""
    connection = connect(directory)
    try:
        connection.request("POST", "/command", msgspec.json.encode(command))
        told = msgspec.json.decode(connection.getresponse().read(), type=dict[str, Any])
        return bool(told["done"]), str(told["outcome"])
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, KeyError) as error:
        raise NoDoor(f"monitor did not answer ({error}): see 'bargein tap health'") from None
    finally:
        connection.close()
