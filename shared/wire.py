"""The socket under a WebSocket, of which nothing waits: messages go in and come out.

Raises what the socket raises (OSError), and BadFrame for what is no WebSocket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl

from shared.realtime import frames

#: Read at once.
READ_BYTES = 64 * 1024
#: So much may wait behind what is blocked.
MOST_UNSENT = 256 * 1024
#: How long it may take to say goodbye.
CLOSE_S = 0.1
NORMAL = (1000).to_bytes(2, "big")


class Ended(OSError):
    """Raised when the other end is gone."""


class Wire:
    """One connection. ``limit``: the bytes of the longest message that may come."""

    def __init__(self, connected: socket.socket, limit: int) -> None:
        self._socket = connected
        self._reader = frames.Reader(limit)
        self._unsent = b""  # of frames that were begun
        connected.settimeout(0)

    @property
    def blocked(self) -> bool:
        """Whether a part of a frame still has to leave, and nothing else can."""
        return bool(self._unsent)

    def send(self, opcode: int, payload: bytes) -> bool:
        """Send a message, behind what is blocked; False where none of it could leave, nor will."""
        frame = frames.write(opcode, payload, os.urandom(4))
        if self._unsent:
            self._unsent += frame
            return True
        try:
            taken = self._socket.send(frame)
        except BlockingIOError:
            return False
        except ssl.SSLWantWriteError:
            # TLS has made a record of it, and wants to be given the same again
            taken = 0
        self._unsent = frame[taken:]
        return True

    def insist(self, opcode: int, payload: bytes = b"") -> None:
        """Send a control frame, now or as soon as anything can leave."""
        if len(self._unsent) > MOST_UNSENT:
            return  # the other end asks and asks, and reads no answer
        if not self.send(opcode, payload):
            self._unsent = frames.write(opcode, payload, os.urandom(4))

    def flush(self) -> None:
        """Send what was begun, as far as it can leave."""
        if self._unsent:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]

    def receive(self) -> tuple[list[frames.Message], bool]:
        """Give the messages that have come, and whether there may be more at once."""
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return [], False
        if not data:
            raise Ended("the connection was lost: the server ended it without a word")
        # TLS may hold what no poller can see
        held = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return self._reader.feed(data), len(data) == READ_BYTES or held > 0

    def close(self) -> None:
        """Say goodbye, if that can be said, and close."""
        # the connection may be the very thing that is gone
        with contextlib.suppress(OSError):
            if not self._unsent:
                self._socket.settimeout(CLOSE_S)
                self._socket.sendall(frames.write(frames.CLOSE, NORMAL, os.urandom(4)))
        self._socket.close()
