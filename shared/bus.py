"""The message bus: ZeroMQ PUB/SUB without a broker.

Every publisher binds its own endpoint: an ipc socket in the bus directory, or the address that the
network has for it. Every subscriber connects to the publishers of the topics that it reads, which
it finds through the registry. Nothing here blocks: a stage's loop polls, receives the messages that
are there, and sends.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, cast

import msgspec
import zmq

from shared import codec, messages, now, registry
from shared.clocks import Clock
from shared.directory import BusError
from shared.network import LOCAL, Network
from shared.numbers import Numbers
from shared.peers import Peers
from shared.poller import Ready
from shared.readers import Audience, Frames, Hold, subscription
from shared.registry import Queue, Topic

#: Milliseconds until a subscriber connects to a restarted stage again. ZeroMQ's default is 100 ms.
RECONNECT_MS = 20
#: Messages that one call refuses, so that a flood of them does not keep a reader from other work.
REFUSED_AT_ONCE = 256
#: Plain ints: comparing zmq's enum members costs more than asking the socket.
READABLE = int(zmq.POLLIN)
EVENTS = int(zmq.EVENTS)
RCVMORE = int(zmq.RCVMORE)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
LAST = int(zmq.NOBLOCK)
#: The longest frame that a reader takes, bytes. ZeroMQ closes the connection to a peer that sends a
#: longer one, for good. So this limit only protects the memory: a message over its own limit is
#: refused when it is read.
MAX_FRAME = 10 * messages.MAX_TEXT
#: The longest frame that a publisher takes, bytes: a subscription, which is a topic's name, or a
#: message of the handshake, at most 400 bytes. For each byte of a subscription libzmq takes up to
#: 40 bytes of memory.
MAX_REQUEST = 1024
#: Subscriptions that libzmq reads ahead for each connection, and how many a publisher takes from an
#: endpoint in one turn of the loop. The first number is above that of the topics of an endpoint: a
#: reader's subscriptions are then seen together, and the states come before what was held for it.
REQUESTS_AHEAD, REQUESTS_AT_ONCE = 16, 256
#: How long a peer may take for the handshake, ms. It takes milliseconds, and a peer that was
#: stopped meanwhile tries again. Until then, a stranger's connection holds a descriptor.
HANDSHAKE_MS = 2000
#: Messages that wait in the reader's own process. All others wait at the publisher, whose queue is
#: longer and takes less memory.
AHEAD = 64
#: On tcp, the kernel gives up a peer that has not answered for this time, s. On ipc it reports the
#: end of a peer at once.
GONE_S = 20
#: After this many urgent messages in a row, the other topics are read first.
URGENT_AT_ONCE = 64


def _socket(kind: int, longest: int) -> zmq.Socket[bytes]:
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


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(cast("int", socket.getsockopt(EVENTS)) & READABLE)


def _receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the frames of the next message. There must be one: see ``_readable``."""
    frames = [socket.recv(LAST)]
    while socket.getsockopt(RCVMORE):
        frames.append(socket.recv(LAST))
    return frames


#: pyzmq's ``send`` without its Python wrapper.
_send_frame = cast("Callable[[zmq.Socket[bytes], bytes, int], None]", zmq.backend.Socket.send)


def _send(socket: zmq.Socket[bytes], frames: Frames) -> None:
    # send_multipart takes twice as long.
    _send_frame(socket, frames[0], MORE)
    _send_frame(socket, frames[1], MORE)
    _send_frame(socket, frames[2], LAST)


class _Outlet:
    """One topic as its publisher sends it."""

    __slots__ = ("consumed_name", "hold", "last", "name", "observed", "seq", "socket", "topic")

    def __init__(self, topic: Topic, socket: zmq.Socket[bytes]) -> None:
        self.topic = topic
        self.socket = socket
        self.name = topic.name.encode()
        self.consumed_name = topic.consumed_name.encode()
        #: The count of the next message.
        self.seq = 0
        #: The last message; STATE only.
        self.last: messages.Message | None = None
        #: The messages that wait for a consumer; None: there is a consumer, or nothing is held.
        self.hold = Hold(topic.queue.value) if topic.queue is Queue.LOSSLESS else None
        #: Whether somebody subscribes to the bare name.
        self.observed = False


#: A closed publisher goes on sending what is queued, until its process ends. If libzmq has to drop
#: the queue instead (LINGER of 0 or more), and a reader that does not read disconnects at that
#: moment, libzmq aborts the process (session_base.cpp:233).
LINGER = -1


class Publisher:
    """The topics of one stage. Not thread-safe: it belongs to the stage's loop.

    Raises BusError if an endpoint cannot be bound.
    """

    def __init__(self, stage: str, directory: Path, network: Network = LOCAL) -> None:
        self.stage = stage
        #: The epoch and the stage's other numbers that only grow.
        self.numbers = Numbers(directory, stage)
        self._epoch = self.numbers.next()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._outlets: dict[str, _Outlet] = {}
        self._audiences: dict[zmq.Socket[bytes], Audience] = {}
        self._peers: dict[zmq.Socket[bytes], Peers] = {}
        # The ipc files that we bound, with their inodes.
        self._files: dict[Path, int] = {}
        self.addresses: list[str] = []
        #: The names of the topics that somebody consumes or observes.
        self.subscribed: frozenset[str] = frozenset()
        rows = registry.published_by(stage)
        for endpoint in dict.fromkeys(topic.endpoint for topic in rows):
            here = [topic for topic in rows if topic.endpoint == endpoint]
            socket = self._bind(endpoint, here, directory, network)
            self._sockets[endpoint] = socket
            self._audiences[socket] = Audience(here)
            self._outlets |= {topic.name: _Outlet(topic, socket) for topic in here}

    def _bind(
        self, endpoint: str, topics: Sequence[Topic], directory: Path, network: Network
    ) -> zmq.Socket[bytes]:
        socket = _socket(zmq.XPUB, MAX_REQUEST)
        socket.linger = LINGER
        socket.setsockopt(zmq.RCVHWM, REQUESTS_AHEAD)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        # Each reader has a queue of its own, shared by the endpoint's topics: the longest applies.
        socket.setsockopt(zmq.SNDHWM, max(topic.queue.value for topic in topics))
        # Report every subscription and every end of one, also when the reader's process dies.
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        where = network.where(directory, endpoint)
        try:
            network.prepare(socket, endpoint, listens=True)
            self._peers[socket] = Peers(where, socket, time.monotonic)
            socket.bind(where)
            self._note_file(where)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            socket.close()
            raise BusError(f"{self.stage}: cannot publish on {where}: {error}") from None
        self.addresses.append(where)
        return socket

    def _note_file(self, where: str) -> None:
        if where.startswith("ipc://"):
            path = Path(where.removeprefix("ipc://"))
            path.chmod(0o600)
            self._files[path] = path.stat().st_ino

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """The sockets to poll for new subscriptions and, over tcp, for new connections."""
        news = [peers.news for peers in self._peers.values() if peers.news is not None]
        return [*self._sockets.values(), *news]

    @property
    def cut(self) -> int:
        """How many peers were cut off because they took too much; see shared/peers.py."""
        return sum(peers.cut for peers in self._peers.values())

    @property
    def held(self) -> frozenset[str]:
        """The names of the lossless topics that nobody consumes: their messages are held."""
        return frozenset(o.topic.name for o in self._outlets.values() if o.hold is not None)

    def publish(self, message: messages.Message, topic: Topic | None = None) -> int:
        """Send a message and return its time stamp, ns. Never blocks.

        Observers get each message at once. A lossless message also goes to the topic's consumer, or
        is held while there is none. Raises ValueError for a topic that is not in the stage's row.
        """
        topic = topic or registry.of(type(message))
        outlet = self._outlets.get(topic.name)
        if outlet is None:
            raise ValueError(
                f"{self.stage} does not publish {topic.name}: add the topic to the stage's row in"
                " shared/registry.py"
            )
        at_ns = now.monotonic_ns()
        stamp = messages.Stamp(seq=outlet.seq, epoch=self._epoch, t=at_ns)
        outlet.seq += 1
        header, payload = codec.encode(message, stamp)
        socket, queue = outlet.socket, topic.queue
        if queue is Queue.LOSSLESS:
            frames = (outlet.consumed_name, header, payload)
            if outlet.hold is not None:
                outlet.hold.put(at_ns, frames)
            else:
                _send(socket, frames)
        elif queue is Queue.STATE:
            outlet.last = message
        if outlet.observed or queue is not Queue.LOSSLESS:
            _send(socket, (outlet.name, header, payload))
        return at_ns

    @property
    def removed(self) -> list[Path]:
        """The files of endpoints that were removed: no new reader finds them.

        Raises BusError if another process has taken an endpoint. Binding an ipc address replaces
        the file of its owner without an error. Then new readers connect to the other process, and
        nobody notices that two processes run as one stage.
        """
        removed = []
        for path, inode in self._files.items():
            try:
                found = path.stat().st_ino
            except FileNotFoundError:
                removed.append(path)
                continue
            except OSError:
                continue  # It is there, but cannot be looked at now.
            if found != inode:
                raise BusError(
                    f"{path}: another process runs as {self.stage} and has taken the endpoint:"
                    f" end that process or this one (each process must hold {self.stage}.lock)"
                )
        return removed

    def bind_again(self, removed: Iterable[Path]) -> None:
        """Bind endpoints whose files were removed. The readers that have connected stay connected.

        Raises BusError if an endpoint cannot be bound.
        """
        for path in removed:
            where = f"ipc://{path}"
            try:
                self._sockets[path.stem].bind(where)
                self._note_file(where)
            except (zmq.ZMQError, OSError) as error:
                raise BusError(f"{self.stage}: cannot publish on {where}: {error}") from None
        self.numbers.keep()

    def repeat_state(self) -> None:
        """Send every state topic's last message again, except the health; drop expired holds.

        The stage calls this once a second. It publishes its health itself, with new figures.
        """
        at_ns = now.monotonic_ns()
        for outlet in self._outlets.values():
            if outlet.hold is not None:
                outlet.hold.trim(at_ns)
            if outlet.last is not None and not isinstance(outlet.last, messages.Health):
                self.publish(outlet.last, outlet.topic)

    def welcome(self, among: Ready | None = None) -> list[str]:
        """Read new subscriptions and return them. To be called before each wait.

        ``among``: the sockets that a poller found ready; None: look at every socket. State topics
        are repeated for a new reader. Then the topic's held messages are sent to its new consumer.
        """
        taken: list[str] = []
        for socket in self._sockets.values():
            self._peers[socket].read_news()
            if among is None or socket in among:
                new = self._subscriptions(socket)
                self._repeat(socket, new)
                taken += new
        return taken

    def _subscriptions(self, socket: zmq.Socket[bytes]) -> list[str]:
        audience, peers = self._audiences[socket], self._peers[socket]
        new: list[str] = []
        changed = False
        for _ in range(REQUESTS_AT_ONCE):
            if not _readable(socket):
                break
            changed = True
            request = socket.recv(zmq.NOBLOCK, copy=False)
            peers.count(request)
            prefix = audience.update(request.bytes)
            if prefix is not None:
                new.append(prefix)
        if changed:
            self.subscribed = frozenset().union(*(a.subscribed for a in self._audiences.values()))
            for outlet in self._outlets.values():
                if outlet.socket is socket and outlet.topic.queue is Queue.LOSSLESS:
                    outlet.observed = audience.observed(outlet.topic)
                    if outlet.hold is None and not audience.consumed(outlet.topic):
                        outlet.hold = Hold(outlet.topic.queue.value)
        return new

    def _repeat(self, socket: zmq.Socket[bytes], new: list[str]) -> None:
        here = [outlet for outlet in self._outlets.values() if outlet.socket is socket]
        for outlet in here:
            if outlet.last is not None and any(map(outlet.topic.name.startswith, new)):
                self.publish(outlet.last, outlet.topic)
        # After the state: a reader of held audio learns first which of it is still to be played.
        for outlet in here:
            if outlet.hold is not None and self._audiences[socket].consumed(outlet.topic):
                for frames in outlet.hold.take(now.monotonic_ns()):
                    _send(socket, frames)
                outlet.hold = None

    def close(self) -> None:
        """Close the sockets. Messages in their queues are sent while the process goes on."""
        for peers in self._peers.values():
            peers.close()
        self._peers.clear()
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()


def wait_until_sent(seconds: float) -> None:
    """Wait until closed publishers have sent everything, at most so long.

    The process can use no socket afterwards: call this at its end.
    """
    waiting = threading.Thread(target=zmq.Context.instance().term, daemon=True)
    waiting.start()
    waiting.join(seconds)


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
class _Line:
    """The place in one topic's sequence of messages."""

    epoch: int = -1
    seq: int = -1
    #: The publisher's epochs before it was restarted.
    retired: list[int] = field(default_factory=list)


@dataclass
class Faults:
    """The number of messages that a subscriber refused or missed, by topic."""

    #: Not a message of the topic.
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
        self.faults = Faults()
        self.addresses: list[str] = []
        self._wanted = {subscription(topic, observer=observer): topic for topic in rows}
        self._lines = {topic.name: _Line() for topic in rows}
        self._sockets: list[zmq.Socket[bytes]] = []
        self._urgent: list[zmq.Socket[bytes]] = []
        self._urgent_in_a_row = 0
        # Only publishers with a network address can be on another machine.
        self._clocks = {t.publisher: Clock() for t in rows if t.endpoint in network.addresses}
        # A topic with an endpoint of its own is urgent: its socket is read first.
        urgent_first = sorted(rows, key=lambda topic: not topic.own_endpoint)
        for endpoint in dict.fromkeys(topic.endpoint for topic in urgent_first):
            here = [topic for topic in rows if topic.endpoint == endpoint]
            socket = _socket(zmq.SUB, MAX_FRAME)
            socket.setsockopt(zmq.RCVHWM, min(AHEAD, *(topic.queue.value for topic in here)))
            socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
            for topic in here:
                socket.setsockopt(zmq.SUBSCRIBE, subscription(topic, observer=observer))
            where = network.where(directory, endpoint)
            network.prepare(socket, endpoint, listens=False)
            socket.connect(where)
            self.addresses.append(where)
            self._sockets.append(socket)
            if any(topic.own_endpoint for topic in here):
                self._urgent.append(socket)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """The sockets to poll, the urgent ones first."""
        return list(self._sockets)

    def receive(self, among: Ready | None = None) -> Delivery[messages.Message] | None:
        """Return the next message, urgent topics first, or None if there is none now.

        ``among``: the sockets that a poller found ready; None: look at every socket. A message that
        is not valid is refused and counted. A message that is too old is dropped and counted. The
        search then goes on, but not through a flood of them.
        """
        in_turn = self._sockets
        if self._urgent_in_a_row >= URGENT_AT_ONCE:
            in_turn = in_turn[::-1]
        for socket in in_turn:
            # An urgent message may have come since the poller looked.
            if among is not None and socket not in among and socket not in self._urgent:
                continue
            for _ in range(REFUSED_AT_ONCE):
                if not _readable(socket):
                    break
                delivery = self._read(_receive(socket))
                if delivery is not None:
                    self._turn_over(socket)
                    return delivery
        return None

    def _turn_over(self, socket: zmq.Socket[bytes]) -> None:
        """Let the other sockets be read before a socket that has given a message."""
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
            # A subscription is a prefix: this is a longer name.
            return None
        if len(frames) != 3:
            return self._refused(topic, f"{len(frames)} frames instead of 3")
        try:
            message, stamp = codec.decode(topic.type, frames[1], frames[2])
        except codec.BadMessage as error:
            return self._refused(topic, str(error))
        line = self._lines[topic.name]
        if stamp.epoch in line.retired or (stamp.epoch == line.epoch and stamp.seq <= line.seq):
            return self._refused(topic, "older than the message before it")
        restarted = stamp.epoch != line.epoch and line.epoch >= 0
        lost = stamp.seq - line.seq - 1 if stamp.epoch == line.epoch else 0
        if restarted:
            line.retired = [*line.retired[-15:], line.epoch]
        line.epoch, line.seq = stamp.epoch, stamp.seq
        if lost:
            self.faults.lost[topic.name] += lost
        if (clock := self._clocks.get(topic.publisher)) is not None:
            message, stamp = clock.here(message, stamp, now.monotonic_ns())
        age_ms = (now.monotonic_ns() - stamp.t) // 1_000_000
        if topic.max_age_ms and age_ms > topic.max_age_ms:
            self.faults.stale[topic.name] += 1
            return None
        return Delivery(topic, message, stamp, restarted, lost)

    def _refused(self, topic: Topic, why: str) -> Delivery[messages.Message] | None:
        self.faults.refused[topic.name] += 1
        self.faults.last = f"{topic.name}: message refused: {why}"
        return None

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets:
            socket.close()
        self._sockets.clear()
