"""The server's answer to the upgrade, as websocket-client can read it.

websocket-client refuses headers that servers and proxies send all the same: folded ones, and bytes
that are not UTF-8. It takes an informational answer (103) for the answer, and it waits for the
whole page that comes with a refusal.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from services.link import endings, head
from services.link.connection import Ended
from services.link.inflow import Flood

#: The longest head that is read, bytes: servers and proxies send a few thousand.
LONGEST = 64 * 1024
#: The ends of a head.
ENDS = (b"\r\n\r\n", b"\n\n")
#: How much of a refusal's text is read, bytes, and for how long, s. The words of the server are in
#: the first kilobyte, and they arrive together with the head.
LONGEST_TEXT, TEXT_S = 4096, 1.0
#: The answer that is the upgrade.
UPGRADED = 101


def read_head(connected: socket.socket) -> tuple[bytes, bool]:
    """Return the head of an HTTP answer, and whether it is whole.

    It is not whole if the stream ends before, or if it is longer than LONGEST.
    """
    read = bytearray()
    # Byte by byte, because the bytes after the head are not HTTP.
    while not read.endswith(ENDS) and len(read) <= LONGEST:
        byte = connected.recv(1)
        if not byte:
            break
        read += byte
    return bytes(read), read.endswith(ENDS)


class Answer:
    """A socket from which websocket-client reads the answer. Sending goes to the socket itself."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected
        self._head: bytes | None = None

    def recv(self, size: int) -> bytes:
        """Return bytes of the answer's head. Raises Ended if it refuses, and Flood if too long."""
        if self._head is None:
            self._head = self._read()
        if not self._head:
            return self._connected.recv(size)
        part, self._head = self._head[:size], self._head[size:]
        return part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)

    def _read(self) -> bytes:
        """Return the head of the upgrade. Raises Ended and Flood."""
        status = 100
        while status < UPGRADED or UPGRADED < status < 200:  # the others announce an answer
            said, whole = read_head(self._connected)
            if len(said) > LONGEST:
                raise Flood(f"an answer to the upgrade of more than {LONGEST} bytes")
            if not whole:
                raise Ended(endings.hung_up(said))
            status, headers, plain = head.parse(said)
            if not status:
                raise Ended(endings.no_http(said))
        if status != UPGRADED:
            raise Ended(endings.of_status(status, headers, self._read_text(headers)))
        return plain

    def _read_text(self, headers: dict[str, str]) -> bytes:
        """Return the beginning of the text that comes with a refusal."""
        length = headers.get("content-length", "")
        wanted = min(int(length), LONGEST_TEXT) if length.isdecimal() else LONGEST_TEXT
        # Half of the time at most, so that the refusal itself is reported before the time is over.
        limit_s = (self._connected.gettimeout() or TEXT_S) / 2
        ends_s = time.monotonic() + min(TEXT_S, limit_s)
        text = b""
        with contextlib.suppress(OSError):
            while len(text) < wanted and (left := ends_s - time.monotonic()) > 0:
                self._connected.settimeout(left)
                part = self._connected.recv(wanted - len(text))
                if not part:
                    break
                text += part
        return text
