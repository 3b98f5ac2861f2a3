"""Limits for the peers of a publisher's endpoint: how many subscriptions and connections.

libzmq keeps every subscription in memory, and every connection has a descriptor. libzmq has no
limit for either, so a peer that is over a limit is cut off here. It can connect again.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

import zmq

#: The most subscriptions of one connection. A reader of all topics has about forty.
SUBSCRIPTIONS = 256
#: How many requests (subscriptions and ends of one) a connection may send at once, and how many
#: more each second.
BURST, RATE = 2 * SUBSCRIPTIONS, 64
#: The most connections over tcp that have not subscribed to anything: strangers, mostly. A reader
#: subscribes within milliseconds.
STRANGERS = 256
#: The connections that are remembered. The oldest one is forgotten first, and gets new limits.
REMEMBERED = 4096
#: The most news of new connections that one call reads.
AT_ONCE = 256


class Requests:
    """The subscriptions that one connection has sent. Pure. Times are s of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._subscriptions = 0
        self._room = float(BURST)
        self._at = now

    def allow(self, *, begins: bool, now: float) -> bool:
        """Count a request and return whether the connection is within its limits."""
        self._subscriptions = max(0, self._subscriptions + (1 if begins else -1))
        self._room = min(BURST, self._room + (now - self._at) * RATE) - 1
        self._at = now
        return self._subscriptions <= SUBSCRIPTIONS and self._room >= 0


class Strangers:
    """The connections that have not subscribed yet, the oldest first. Pure."""

    def __init__(self, most: int = STRANGERS) -> None:
        self._most = most
        self._waiting: OrderedDict[int, int] = OrderedDict()

    def came(self, connection: int, descriptor: int) -> tuple[int, int] | None:
        """Add a connection; return the one to cut off to make room for it, or None."""
        self._waiting[connection] = descriptor
        return self._waiting.popitem(last=False) if len(self._waiting) > self._most else None

    def subscribed(self, connection: int) -> None:
        """Forget a connection: it is no stranger."""
        self._waiting.pop(connection, None)


class Peers:
    """The connections to one endpoint. ``where`` is the endpoint's address.

    A connection is known by the inode of its socket: libzmq closes descriptors in a thread of its
    own, and the system uses their numbers again.
    """

    def __init__(
        self, where: str, listening: zmq.Socket[bytes], clock: Callable[[], float]
    ) -> None:
        #: How many connections were cut off.
        self.cut = 0
        #: The socket on which libzmq reports new connections; None: nobody else can reach us.
        self.news: zmq.Socket[bytes] | None = None
        self._where = where
        self._clock = clock
        self._requests: OrderedDict[int, Requests] = OrderedDict()
        self._strangers = Strangers()
        self._listening = listening
        if where.startswith("tcp://"):
            self.news = listening.get_monitor_socket(zmq.EVENT_ACCEPTED)

    def read_news(self) -> None:
        """Read which connections are new; cut off the oldest strangers if there are too many."""
        news = self.news
        for _ in range(AT_ONCE):
            if news is None or not int(news.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            event = news.recv_multipart(zmq.NOBLOCK)[0]
            _, descriptor = struct.unpack("=hi", event)
            connection = _inode(descriptor)
            if connection and connection not in self._requests:
                gone = self._strangers.came(connection, descriptor)
                if gone is not None:
                    self._cut(*gone)

    def count(self, request: zmq.Frame) -> None:
        """Count a subscription or its end, as an XPUB socket received it.

        A connection that is over its limits is cut off. Then libzmq forgets its subscriptions, and
        reports the end of each of them.
        """
        try:
            descriptor = request.get(zmq.SRCFD)
        except zmq.ZMQError:
            return  # the end of a subscription whose connection is gone
        connection = _inode(descriptor)
        if not connection:
            return
        now = self._clock()
        requests = self._requests.get(connection)
        if requests is None:
            requests = self._requests[connection] = Requests(now)
            self._strangers.subscribed(connection)
            if len(self._requests) > REMEMBERED:
                self._requests.popitem(last=False)
        if not requests.allow(begins=request.bytes[:1] == b"\x01", now=now):
            self._cut(connection, descriptor)

    def _cut(self, connection: int, descriptor: int) -> None:
        self.cut += _cut_off(connection, descriptor, self._where)

    def close(self) -> None:
        """Close the socket for the news."""
        if self.news is not None:
            self._listening.disable_monitor()
            self.news.close(0)
            self.news = None


def _inode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def _cut_off(connection: int, descriptor: int, where: str) -> bool:
    """End a connection of libzmq's, and return whether it was still there.

    Meanwhile the descriptor may have become another connection's, or another file's: then nothing
    happens.
    """
    try:
        copy = os.dup(descriptor)
    except OSError:
        return False
    try:
        peer = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return False
    with peer, suppress(OSError):
        if os.fstat(copy).st_ino != connection or _address(peer) != where:
            return False
        peer.shutdown(socket.SHUT_RDWR)
        # libzmq would still read what has arrived.
        while peer.recv(65536, socket.MSG_DONTWAIT):
            pass
        return True
    return False


def _address(peer: socket.socket) -> str:
    """Return the ZeroMQ address of the endpoint that a connection belongs to."""
    found = peer.getsockname()
    if isinstance(found, str):
        return f"ipc://{found}"
    host = f"[{found[0]}]" if peer.family == socket.AF_INET6 else found[0]
    return f"tcp://{host}:{found[1]}"
