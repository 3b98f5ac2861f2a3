"""Limits on what a server may send: the length of one message, and the rate over time. Pure.

A WebSocket frame announces its length before its data comes, and a message is any number of frames.
Without limits, either could take all memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared import messages, registry

#: The longest message that is read, bytes. link skips a message longer than messages.MAX_TEXT; a
#: message longer than this one would have to be held in memory just to skip it.
LONGEST = 2 * messages.MAX_TEXT
#: The most frames of one message: a server that needs more does not mean to end it.
FRAMES = 1024
#: How many bytes may come at once, and how many more each second. A conversation has 0.1 MB/s, and
#: an hour of speech in one burst is 230 MB.
BURST, RATE = 256_000_000, 8_000_000
#: The same for messages. A conversation has about 50 a second. More in one burst than the bus's
#: queues hold would be lost there.
MESSAGES, MESSAGE_RATE = registry.Queue.LOSSLESS.value, 500
#: The same for short messages, up to this length in bytes. They are no audio, so a conversation has
#: about one for each word: a reply of ten minutes has fewer, even if it comes at once. Each takes
#: link about 40 µs, and the event that interrupts waits behind those that came before it, so 2,000
#: of them delay it by less than 100 ms.
SHORT, SHORT_AT_ONCE = 1000, 2000
#: The same for frames: a proxy may split each message into a few.
FRAMES_AT_ONCE, FRAME_RATE = 4 * MESSAGES, 4 * MESSAGE_RATE
#: The same for pings, pongs and closes. Servers ping once in twenty seconds or more.
PINGS, PING_RATE = 500, 50
#: The first opcode of the frames that are no part of a message: close, ping, pong.
CONTROL = 8


class Flood(ConnectionError):
    """Raised when the server sends more than a conversation can contain."""


class _Bucket:
    """An amount that may come at once, and then at a rate.

    ``most``: the largest burst after link did not read for a while, by default ``burst``.
    """

    def __init__(self, burst: int, rate: int, what: str, now: float, most: int = 0) -> None:
        self._burst, self._rate, self._what = burst, rate, what
        self._most = most or burst
        self._room = float(burst)
        self._at = now

    def take(self, amount: int, now: float) -> None:
        """Count an amount that has come. Raises Flood."""
        self._room = min(self._room + (now - self._at) * self._rate, self._most) - amount
        self._at = now
        if self._room < 0:
            raise Flood(f"the server sends more than {self._rate} {self._what} a second")

    def drained(self, now: float) -> None:
        """Note that everything that has come was read: from now on a burst is ``burst`` at most."""
        self._room = min(self._room + (now - self._at) * self._rate, self._burst)
        self._at = now


class Inflow:
    """A count of the frames on one connection. Times are s of a clock that only grows."""

    def __init__(self, now: float) -> None:
        self._all_bytes = _Bucket(BURST, RATE, "bytes", now)
        self._messages = _Bucket(MESSAGES, MESSAGE_RATE, "messages", now)
        # A link that was stopped for a minute finds the minute's messages all at once.
        self._short = _Bucket(SHORT_AT_ONCE, MESSAGE_RATE, "short messages", now, MESSAGES)
        self._all_frames = _Bucket(FRAMES_AT_ONCE, FRAME_RATE, "frames", now)
        self._pings = _Bucket(PINGS, PING_RATE, "pings and pongs", now)
        # of the message that is being read
        self._bytes = self._frames = 0

    def announced(self, length: int) -> None:
        """Check the announced length of the next frame. Raises Flood."""
        if self._bytes + length > LONGEST:
            raise Flood(f"a message of {self._bytes + length} bytes, at most {LONGEST} are read")

    def came(self, length: int, now: float, *, last: bool, control: bool = False) -> None:
        """Count a frame that has come. Raises Flood.

        ``last``: the frame is the last one of its message. ``control``: the frame is a close, ping
        or pong, and not part of a message.
        """
        self._all_bytes.take(length, now)
        if control:
            self._pings.take(1, now)
            return
        self._bytes, self._frames = self._bytes + length, self._frames + 1
        if self._frames > FRAMES:
            raise Flood(f"a message in more than {FRAMES} frames")
        self._all_frames.take(1, now)
        if last:
            if self._bytes <= SHORT:
                self._short.take(1, now)
            self._bytes = self._frames = 0
            self._messages.take(1, now)

    def drained(self, now: float) -> None:
        """Note that link has read everything that has come."""
        self._short.drained(now)


def limit(connection: Any, clock: Callable[[], float]) -> Inflow:
    """Apply the limits to a WebSocket of websocket-client: reading from it raises Flood."""
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
    return inflow
