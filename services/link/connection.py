"""One open WebSocket, which is one session with the server. No call here blocks."""

from __future__ import annotations

import contextlib
import math
import select
import ssl
import time
from dataclasses import dataclass

import websocket
from websocket import ABNF

from services.link import endings, inflow
from services.link.wire import Wire
from shared.realtime.first_messages import FirstMessages

#: If the socket takes none of the bytes that wait for this long, s, the connection is dead.
STALLED_S = 5.0


class Ended(Exception):
    """Raised when a connection turns out to have ended."""

    def __init__(self, ending: endings.Ending) -> None:
        super().__init__(ending.why)
        self.ending = ending


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text message."""

    data: bytes
    #: When the message was read, CLOCK_MONOTONIC ns.
    read_ns: int


@dataclass(frozen=True, slots=True)
class Other:
    """A binary message, a ping or a pong."""

    binary: bool


class Connection:
    """An open WebSocket and the session over it."""

    def __init__(self, opened: websocket.WebSocket, session: int) -> None:
        self.session = session
        #: s of CLOCK_MONOTONIC: when the connection was opened, and when the last frame came.
        self.opened_s = self.alive_s = time.monotonic()
        #: The time from the last ping to its pong, µs; 0: no ping was answered.
        self.round_trip_us = 0
        self._pinged_s = -math.inf  # when the last ping was sent: the first one is due at once
        self._pings = 0
        #: The server's first messages.
        self.first_messages = FirstMessages()
        self._websocket = opened
        socket = opened.sock
        if socket is None:
            raise Ended(endings.Lost("reset", "the connection was lost as soon as it was open"))
        self.descriptor: int = socket.fileno()
        opened.settimeout(0)
        self._wire = Wire(socket)
        # websocket-client calls Wire.send instead of the socket, also for its answers to pings.
        opened.dispatcher = self._wire  # type: ignore[assignment]
        self._inflow = inflow.limit(opened, time.monotonic)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self.descriptor, select.POLLIN)
        self._writable.register(self.descriptor, select.POLLOUT)

    # sending

    @property
    def takes_more(self) -> bool:
        """Whether the next message leaves at once: no bytes wait, and the socket has room."""
        return not self._wire.waits and bool(self._writable.poll(0))

    @property
    def waits(self) -> bool:
        """Whether there are bytes that the socket has not taken."""
        return self._wire.waits

    def stalled_s(self) -> float:
        """Return for how long the socket has taken none of the bytes that wait, s."""
        return self._wire.stalled_s()

    def send(self, text: bytes) -> None:
        """Send a text message, or its beginning: ``send_waiting`` sends the rest. Raises Ended."""
        self._send(text, ABNF.OPCODE_TEXT)

    def ping(self) -> None:
        """Send a ping. Raises Ended."""
        self._pings += 1
        self._pinged_s = time.monotonic()
        self._send(b"%d" % self._pings, ABNF.OPCODE_PING)

    def look_after(self, ping_interval_s: float, pong_timeout_s: float) -> None:
        """Send a ping if one is due. Raises Ended if the server is silent or takes no more data."""
        now = time.monotonic()
        if now - self.alive_s > ping_interval_s + pong_timeout_s:
            raise Ended(endings.SILENT)
        if self._wire.stalled_s() > STALLED_S:
            raise Ended(endings.STALLED)
        if now - self._pinged_s > ping_interval_s:
            self.ping()
        # Notes for the limits that all was read. Otherwise a server that was quiet would be allowed
        # a larger burst later.
        self.has_more()

    def _send(self, data: bytes, opcode: int) -> None:
        try:
            self._websocket.send(data, opcode)
        except (OSError, websocket.WebSocketException) as error:
            raise Ended(endings.of_send_error(error)) from None

    def send_waiting(self) -> None:
        """Send as many of the waiting bytes as the socket takes. Raises Ended."""
        try:
            self._wire.send_waiting()
        except OSError as error:
            raise Ended(endings.of_send_error(error)) from None

    # receiving

    def receive(self) -> Text | Other | None:
        """Return the next message, or None if none is there yet. Raises Ended."""
        try:
            opcode, frame = self._websocket.recv_data_frame(control_frame=True)
        except (BlockingIOError, ssl.SSLWantReadError, websocket.WebSocketTimeoutException):
            self._inflow.drained(time.monotonic())
            return None
        except (OSError, websocket.WebSocketException) as error:
            raise Ended(endings.of_error(error)) from None
        now_ns = time.monotonic_ns()
        self.alive_s = now_ns / 1e9
        if opcode == ABNF.OPCODE_PONG and frame.data == b"%d" % self._pings:
            self.round_trip_us = max(1, round((self.alive_s - self._pinged_s) * 1e6))
        if opcode == ABNF.OPCODE_TEXT:
            self.first_messages.read(frame.data)
            return Text(frame.data, now_ns)
        if opcode == ABNF.OPCODE_CLOSE:
            code = (
                int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else endings.NO_CODE
            )
            reason = frame.data[2:].decode("utf-8", "replace")
            raise Ended(endings.of_close(code, reason, self.first_messages.error))
        return Other(binary=opcode == ABNF.OPCODE_BINARY)

    def has_more(self) -> bool:
        """Return whether ``receive`` has something to read. Cheaper than to read in vain."""
        socket = self._websocket.sock
        # TLS may hold a message that the poller cannot see.
        if socket is None or (hasattr(socket, "pending") and socket.pending()):
            return True
        if self._readable.poll(0):
            return True
        self._inflow.drained(time.monotonic())
        return False

    def close(self) -> None:
        """Close the connection, with a close frame if the socket takes one at once."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._websocket.send_close()
        self._websocket.shutdown()
