"""The sockets of the bus: their options, and how messages are sent and received."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import zmq

from shared.bus.readers import Frames

#: Plain ints: comparing zmq's enum members costs more than asking the socket.
READABLE = int(zmq.POLLIN)
EVENTS = int(zmq.EVENTS)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
LAST = int(zmq.NOBLOCK)
#: On tcp, the kernel gives up a peer that has not answered for this time, s. On ipc it reports the
#: end of a peer at once.
GONE_S = 20


def open_socket(kind: int, longest: int) -> zmq.Socket[bytes]:
    """Return a new socket. ``longest``: the longest frame that it takes, bytes."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.linger = 0
    socket.setsockopt(zmq.MAXMSGSIZE, longest)
    # ZeroMQ's own heartbeats (HEARTBEAT_IVL) stay off: with them, libzmq aborts a process that was
    # stopped for longer than the timeout, or that has not read for a while when its peer ends
    # (stream_engine_base.cpp:310; libzmq's issue 4364). The kernel's keep-alive notices a peer that
    # has left the network.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, GONE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, GONE_S // 4)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, GONE_S * 1000)
    return socket


def is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Return whether a message is there."""
    return bool(cast("int", socket.getsockopt(EVENTS)) & READABLE)


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the frames of the next message. There must be one: see ``is_readable``."""
    frames: list[bytes] = []
    more = True
    while more:
        # A frame says itself whether another one follows. Asking the socket takes twice as long.
        frame = socket.recv(LAST, copy=False)
        frames.append(frame.bytes)
        more = frame.more
    return frames


#: pyzmq's ``send`` without its Python wrapper.
_send_frame = cast("Callable[[zmq.Socket[bytes], bytes, int], None]", zmq.backend.Socket.send)


def send(socket: zmq.Socket[bytes], frames: Frames) -> None:
    """Send the three frames of a message."""
    # send_multipart takes twice as long.
    _send_frame(socket, frames[0], MORE)
    _send_frame(socket, frames[1], MORE)
    _send_frame(socket, frames[2], LAST)
