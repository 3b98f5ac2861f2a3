"""How a page in a browser, or a program, gets in: the token, the ports, and whom to refuse.

Each server on this machine that a page may talk to (``services/monitor``, and ``capture`` and
``playback`` with the device "browser") checks three things of each connection:

- The token. It is in a file in the bus directory that only the user can read, so a program that
  knows the token runs as this user.
- The header ``Origin``. Every page in a browser can open a WebSocket to a port of this machine. The
  browser then names the page's address in ``Origin``.
- The header ``Host``. A page can make its own host name point to this machine (DNS rebinding):
  then ``Host`` has that name.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Container
from pathlib import Path

from shared.connections import Connections
from shared.loopback import is_loopback
from shared.private import open_own, open_regular, replace_own

#: The file of the token, in the bus directory.
TOKEN_FILE = "door.token"
#: Monitor's Unix socket, and the file that holds the page's address, in the bus directory.
SOCKET, ADDRESS = "monitor.sock", "monitor.address"
#: The number of random bytes in a token: 32 cannot be guessed.
_TOKEN_BYTES = 32
#: The shortest text that is taken for a token. Somebody has damaged a file that is shorter.
_SHORTEST = 32
#: The longest file that is read, in bytes. This module writes shorter ones.
_LONGEST = 256


def token(directory: Path) -> str:
    """Return the token of a bus directory; make it if there is none yet.

    The processes of a conversation start together, and each of them may call this first: all of
    them get the same token. Raises OSError if the file cannot be written or read.
    """
    path = directory / TOKEN_FILE
    for _ in range(3):
        found = _read(path)
        if len(found) >= _SHORTEST:
            return found
        if found:
            path.unlink(missing_ok=True)
        own = directory / f"{TOKEN_FILE}.{os.getpid()}"
        with os.fdopen(open_own(own), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
        try:
            # Unlike a rename, a link fails if another process was faster.
            os.link(own, path)
        except FileExistsError:
            pass
        finally:
            own.unlink(missing_ok=True)
    return _read(path)


def is_token(given: str, wanted: str) -> bool:
    """Return whether a token is the right one, in a time that does not depend on the answer."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def announce(directory: Path, server: str, port: int) -> None:
    """Write a server's port to ``<server>.port`` in the bus directory. Raises OSError."""
    replace_own(directory / f"{server}.port", f"{port}\n".encode())


def port(directory: Path, server: str) -> int:
    """Return the port that a server announced; 0 if there is none."""
    found = _read(directory / f"{server}.port")
    return int(found) if found.isdecimal() and int(found) < 65536 else 0


def withdraw(directory: Path, server: str) -> None:
    """Remove a server's announcement, if there is one."""
    (directory / f"{server}.port").unlink(missing_ok=True)


class Admission:
    """The admission to one server on this machine, as ``Pages`` of a device uses it."""

    def __init__(self, directory: Path, server: str) -> None:
        self._directory, self._server = directory, server
        self._token = token(directory)
        connections = Connections()
        self.came, self.trust = connections.came, connections.trust

    def refusal(self, host: str, origin: str | None, given: str) -> str:
        """Return why a connection is refused, or "" if it is accepted.

        The page is served on another port of this machine, so any origin on this machine is
        admitted. The token shows that it is our page.
        """
        here = origin is not None and is_loopback(origin)
        if why := refusal(host, origin, [origin] if here and origin else []):
            return why
        if not is_token(given, self._token):
            return f"the token is not the one in {self._directory / TOKEN_FILE}"
        return ""

    def announce(self, number: int) -> None:
        """Write the port to its file, unless the file holds it already. Raises OSError."""
        if port(self._directory, self._server) != number:
            announce(self._directory, self._server, number)

    def withdraw(self) -> None:
        """Remove what `announce` wrote."""
        withdraw(self._directory, self._server)


def refusal(
    host: str,
    origin: str | None,
    admitted: Container[str] = (),
    hosts: Container[str] = (),
) -> str:
    """Return why a request is refused, or "" if it is accepted.

    ``host`` and ``origin`` are the request's headers. ``admitted`` has the origins of the pages
    that may connect, beside the server's own. Programs that are no browser send no Origin, or the
    server's address. ``hosts`` has the names under which this machine may be addressed, beside
    those of loopback, in lower case.
    """
    if not is_loopback(f"//{host}") and host.lower() not in hosts:
        return f"Host is {host!r}, which is no address of this machine"
    if origin is None or origin in admitted or origin.lower().partition("://")[2] == host.lower():
        return ""
    return f"a page of {origin!r} is not admitted"


def _read(path: Path) -> str:
    """Return a file's text; "" if there is no file. Raises OSError if it cannot be read."""
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_LONGEST).decode("ascii", "replace").strip()
