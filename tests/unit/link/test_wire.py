"""The bytes that wait for a socket to take them."""

from __future__ import annotations

import ssl
import time

import pytest

from services.link import wire
from services.link.wire import Wire

pytestmark = pytest.mark.unit

#: A whole text frame and a whole pong frame, as far as ``Wire`` looks at them.
TEXT, PONG = b"\x81" + b"t" * 99, b"\x8a" + b"p" * 9


class Socket:
    """A socket that takes ``room`` bytes."""

    def __init__(self, room: int = 0, full: type[OSError] = BlockingIOError) -> None:
        self.room = room
        self.taken = b""
        self._full = full

    def send(self, data: bytes | bytearray, /) -> int:
        if not self.room:
            raise self._full
        count = min(self.room, len(data), 30)  # never much at once
        self.room -= count
        self.taken += data[:count]
        return count


@pytest.mark.parametrize("full", [BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError])
def test_the_bytes_that_a_socket_does_not_take_wait_in_order(full: type[OSError]) -> None:
    socket = Socket(40, full)
    line = Wire(socket)
    assert line.send(None, TEXT) == len(TEXT)
    assert (socket.taken, line.waits) == (TEXT[:40], True)
    line.send(None, PONG)
    socket.room = 70
    line.send_waiting()
    assert (socket.taken, line.waits) == (TEXT + PONG[:10], False)


def test_a_socket_that_is_gone_is_reported() -> None:
    line = Wire(Socket(0, BrokenPipeError))
    with pytest.raises(BrokenPipeError):
        line.send(None, TEXT)


def test_a_wire_is_stalled_while_the_socket_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    socket = Socket(10)
    line = Wire(socket)
    line.send(None, TEXT)
    now = 103.0
    line.send(None, TEXT)
    assert line.stalled_s() == 3.0
    socket.room = 1
    line.send_waiting()
    assert line.stalled_s() == 0.0
    now = 104.0
    assert line.stalled_s() == 1.0
    socket.room = 1000
    line.send_waiting()
    assert line.stalled_s() == 0.0
    now = 200.0
    assert line.stalled_s() == 0.0


def test_answers_to_a_flood_of_pings_do_not_fill_the_memory() -> None:
    line = Wire(socket := Socket())
    for _ in range(wire.PONGS_WAIT):
        line.send(None, PONG)
    line.send(None, TEXT)
    socket.room = 10**9
    line.send_waiting()
    assert wire.PONGS_WAIT < len(socket.taken) <= wire.PONGS_WAIT + len(PONG) + len(TEXT)
    assert socket.taken.endswith(TEXT)
