"""How much a server may say: so much in one message, and so much over time. Pure.

A WebSocket frame says how long it is before it comes, and a message is any number of frames: read
as they come, either could take all the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared import messages

#: Bytes of one message: what is longer than messages.MAX_TEXT is skipped, what is longer than this
#: is not read. And its frames.
LONGEST, FRAMES = 2 * messages.MAX_TEXT, 1024
#: Bytes that may come at once, and how many more each second. A conversation has 0.1 MB/s, and an
#: hour of speech is 230 MB.
BURST, RATE = 256_000_000, 8_000_000
#: The first opcode of a frame that is no part of a message: close, ping, pong.
CONTROL = 8


class Flood(ConnectionError):
    """Raised when the server says more than a conversation can hold."""


class Inflow:
    """Counts what comes on one connection. Times are s, of any clock that only grows."""

    def __init__(self, now: float) -> None:
        self._room = float(BURST)
        self._at = now
        self._bytes = self._frames = 0  # of the message under way

    def announced(self, length: int) -> None:
        """Learn how long the next frame will be. Raises Flood."""
        if self._bytes + length > LONGEST:
            raise Flood(f"a message of {self._bytes + length} bytes, at most {LONGEST} are read")

    def came(self, length: int, now: float, *, last: bool, control: bool = False) -> None:
        """Learn of a frame, the ``last`` of its message or not, or of a ``control`` frame between
        these. Raises Flood.
        """
        if not control:
            self._bytes, self._frames = self._bytes + length, self._frames + 1
            if self._frames > FRAMES:
                raise Flood(f"a message in more than {FRAMES} frames")
            if last:
                self._bytes = self._frames = 0
        self._room = min(self._room + (now - self._at) * RATE, BURST) - length
        self._at = now
        if self._room < 0:
            raise Flood(f"more than {RATE} bytes a second")


def limit(connection: Any, clock: Callable[[], float]) -> None:
    """Hold a WebSocket of websocket-client to this: its reading raises Flood."""
    inflow, read, buffer = Inflow(clock()), connection.recv_frame, connection.frame_buffer

    def recv_frame() -> Any:
        if buffer.needs_header():
            buffer.recv_header()
        if buffer.needs_length():
            buffer.recv_length()
        inflow.announced(buffer.length)
        frame = read()
        inflow.came(len(frame.data), clock(), last=bool(frame.fin), control=frame.opcode >= CONTROL)
        return frame

    connection.recv_frame = recv_frame
