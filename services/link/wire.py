"""The bytes that wait for a socket to take them. No call here blocks."""

from __future__ import annotations

import ssl
import time
from typing import Protocol

#: Answers to pings are dropped while more bytes than this wait: a server that pings without end and
#: reads nothing must not fill the memory. A client need only answer the latest ping (RFC 6455).
PONGS_WAIT = 64 * 1024
#: The first byte of a whole pong frame.
PONG = 0x8A


class Sender(Protocol):
    """The part of a socket that ``Wire`` uses. The socket must be non-blocking."""

    def send(self, data: bytes | bytearray, /) -> int:
        """Send what fits into the socket; return how many bytes that were."""


class Wire:
    """Whole frames on their way into a socket.

    The socket may take part of a frame: the rest waits here, and the next frame goes after it.
    """

    def __init__(self, socket: Sender) -> None:
        self._socket = socket
        self._waiting = bytearray()
        self._progress_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether there are bytes that the socket has not taken."""
        return bool(self._waiting)

    def stalled_s(self) -> float:
        """Return for how long the socket has taken none of the bytes that wait, s."""
        return time.monotonic() - self._progress_at if self._waiting else 0.0

    def send(self, _socket: object, data: bytes) -> int:
        """Send a frame, or leave it to ``send_waiting``; return its length.

        websocket-client calls this method for every frame: see its ``WebSocket.dispatcher``.
        Raises OSError if the connection is gone.
        """
        if data[0] == PONG and len(self._waiting) > PONGS_WAIT:
            return len(data)
        if not self._waiting:
            self._progress_at = time.monotonic()
        self._waiting += data
        self.send_waiting()
        return len(data)

    def send_waiting(self) -> None:
        """Send as many of the waiting bytes as the socket takes. Raises OSError."""
        while self._waiting:
            try:
                taken = self._socket.send(self._waiting)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            del self._waiting[:taken]
            self._progress_at = time.monotonic()
