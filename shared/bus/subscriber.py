"""A subscriber: the topics that a stage reads, and the messages that arrive on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import zmq

from shared import codec, messages, now
from shared.bus.readers import subscription
from shared.bus.sockets import is_readable, open_socket, receive
from shared.clocks import Clock
from shared.network import LOCAL, Network
from shared.poller import Ready
from shared.registry import Topic

#: Milliseconds until a subscriber connects to a restarted stage again. ZeroMQ's default is 100 ms.
RECONNECT_MS = 20
#: Messages that one call refuses, so that a flood of them does not keep a reader from other work.
REFUSED_AT_ONCE = 256
#: The longest frame that a reader takes, bytes. ZeroMQ closes the connection to a peer that sends a
#: longer one, for good. So this limit only protects the memory: a message over its own limit is
#: refused when it is read.
MAX_FRAME = 10 * messages.MAX_TEXT
#: Messages that wait in the reader's own process. All others wait at the publisher, whose queue is
#: longer and takes less memory.
AHEAD = 64
#: After this many urgent messages in a row, the other topics are read first.
URGENT_AT_ONCE = 64

M = TypeVar("M", bound=messages.Message)


class Delivery(msgspec.Struct, Generic[M], frozen=True):
    """A message as it arrived."""

    topic: Topic
    message: M
    stamp: messages.Stamp
    #: Whether the publisher was restarted since the message before.
    restarted: bool
    #: The number of messages of this topic that are missing before this one.
    lost: int


@dataclass
class _Sequence:
    """The place in one topic's sequence of messages."""

    epoch: int = -1
    seq: int = -1
    #: The publisher's epochs before it was restarted.
    retired: list[int] = field(default_factory=list)


@dataclass
class Losses:
    """The number of messages that a subscriber refused or missed, by topic."""

    #: Refused: they were not messages of the topic.
    refused: Counter[str] = field(default_factory=Counter)
    #: Missing: gaps in ``seq``.
    lost: Counter[str] = field(default_factory=Counter)
    #: Dropped because they were older than the topic's ``max_age_ms``.
    stale: Counter[str] = field(default_factory=Counter)
    #: The topic and the reason of the last refusal.
    last: str = ""


class Subscriber:
    """The topics that a stage reads. Not thread-safe: it belongs to the stage's loop.

    ``observer``: get each message at once, and take none away from the topics' consumers. Without
    it, the subscriber consumes the lossless topics: their publishers hold messages for it while it
    is away.
    """

    def __init__(
        self,
        wanted: Iterable[Topic],
        directory: Path,
        network: Network = LOCAL,
        *,
        observer: bool = False,
    ) -> None:
        rows = tuple(wanted)
        #: Whether old messages of a live topic are kept: in a recording no message is too old.
        self.keeps_old = False
        self.losses = Losses()
        self.addresses: list[str] = []
        self._wanted = {subscription(topic, observer=observer): topic for topic in rows}
        self._sequences = {topic.name: _Sequence() for topic in rows}
        self._sockets: list[zmq.Socket[bytes]] = []
        self._urgent: list[zmq.Socket[bytes]] = []
        self._urgent_in_a_row = 0
        # Only publishers with a network address can be on another machine.
        self._clocks = {t.publisher: Clock() for t in rows if t.endpoint in network.addresses}
        # A topic with an endpoint of its own is urgent: its socket is read first.
        urgent_first = sorted(rows, key=lambda topic: not topic.own_endpoint)
        for endpoint in dict.fromkeys(topic.endpoint for topic in urgent_first):
            here = [topic for topic in rows if topic.endpoint == endpoint]
            socket = open_socket(zmq.SUB, MAX_FRAME)
            socket.setsockopt(zmq.RCVHWM, min(AHEAD, *(topic.queue.value for topic in here)))
            socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
            for topic in here:
                socket.setsockopt(zmq.SUBSCRIBE, subscription(topic, observer=observer))
            where = network.where(directory, endpoint)
            network.prepare(socket, endpoint, listens=False)
            socket.connect(where)
            self.addresses.append(where)
            self._sockets.append(socket)
            # Nothing that an observer reads is urgent to it.
            if not observer and any(topic.own_endpoint for topic in here):
                self._urgent.append(socket)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """The sockets to poll, the urgent ones first."""
        return list(self._sockets)

    def receive(self, among: Ready | None = None) -> Delivery[messages.Message] | None:
        """Return the next message, urgent topics first, or None if there is none now.

        ``among``: the sockets that a poller found ready; None: look at every socket. A socket that
        has no more messages is removed from ``among``: to ask a socket costs as much as to read a
        message. A message that is not valid is refused and counted. A message that is too old is
        dropped and counted. The search then goes on, but not through a flood of them.
        """
        in_turn = self._sockets
        if self._urgent_in_a_row >= URGENT_AT_ONCE:
            in_turn = in_turn[::-1]
        for socket in in_turn:
            # An urgent message may have come since the poller looked.
            if among is not None and socket not in among and socket not in self._urgent:
                continue
            for _ in range(REFUSED_AT_ONCE):
                if not is_readable(socket):
                    if among is not None and socket in among:
                        among.remove(socket)
                    break
                delivery = self._read(receive(socket))
                if delivery is not None:
                    self._turn_over(socket)
                    return delivery
        return None

    def _turn_over(self, socket: zmq.Socket[bytes]) -> None:
        """Have the other sockets read before this one, which has just given a message."""
        if socket in self._urgent:
            self._urgent_in_a_row += 1
            return
        self._urgent_in_a_row = 0
        if socket is not self._sockets[-1]:
            self._sockets.remove(socket)
            self._sockets.append(socket)

    def _read(self, frames: list[bytes]) -> Delivery[messages.Message] | None:
        topic = self._wanted.get(frames[0])
        if topic is None:
            # A subscription matches every name that begins with it. This is a longer one.
            return None
        if len(frames) != 3:
            return self._refused(topic, f"{len(frames)} frames instead of 3")
        try:
            message, stamp = codec.decode(topic.type, frames[1], frames[2])
        except codec.BadMessage as error:
            return self._refused(topic, str(error))
        sequence = self._sequences[topic.name]
        if stamp.epoch in sequence.retired or (
            stamp.epoch == sequence.epoch and stamp.seq <= sequence.seq
        ):
            return self._refused(topic, "older than the message before it")
        restarted = stamp.epoch != sequence.epoch and sequence.epoch >= 0
        lost = stamp.seq - sequence.seq - 1 if stamp.epoch == sequence.epoch else 0
        if restarted:
            sequence.retired = [*sequence.retired[-15:], sequence.epoch]
        sequence.epoch, sequence.seq = stamp.epoch, stamp.seq
        if lost:
            self.losses.lost[topic.name] += lost
        if (clock := self._clocks.get(topic.publisher)) is not None:
            message, stamp = clock.here(message, stamp, now.monotonic_ns())
        age_ms = (now.monotonic_ns() - stamp.t) // 1_000_000
        if topic.max_age_ms and age_ms > topic.max_age_ms and not self.keeps_old:
            self.losses.stale[topic.name] += 1
            return None
        return Delivery(topic, message, stamp, restarted, lost)

    def _refused(self, topic: Topic, why: str) -> Delivery[messages.Message] | None:
        self.losses.refused[topic.name] += 1
        self.losses.last = f"{topic.name}: message refused: {why}"
        return None

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets:
            socket.close()
        self._sockets.clear()
