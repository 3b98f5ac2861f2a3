"""The message bus: ZeroMQ PUB/SUB without a broker. With shared/network.py, what imports zmq.

Every publisher binds its own endpoint (an ipc socket in the bus directory, or where the network
has it) and every reader connects to the publishers of the topics it wants, found through the
registry. Nothing here blocks:
a stage's loop polls, receives what is there, and sends.
"""

from __future__ import annotations

import math
import os
import select
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, cast

import msgspec
import zmq

from shared import codec, messages, registry
from shared.clocks import Clock
from shared.network import LOCAL, Network
from shared.readers import Audience, Frames, Hold, subscription
from shared.registry import Queue, Topic

#: A restarted stage is heard again this soon (ZeroMQ's own default is 100 ms).
RECONNECT_MS = 20
#: Messages refused in one go, so that a flood of them does not keep a reader from its other work.
REFUSED_AT_ONCE = 256
#: A new reader of sound that goes on and on is seen within this long.
LOOK_NS = 100_000_000
#: As plain numbers: zmq's own, enumerations, cost more to compare than the socket to ask.
READABLE = int(zmq.POLLIN)
EVENTS = int(zmq.EVENTS)
RCVMORE = int(zmq.RCVMORE)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
LAST = int(zmq.NOBLOCK)
#: What a socket path may be long, for Linux (108 with its zero) and macOS (104).
MAX_PATH = 103
#: ZeroMQ hangs up on a peer that sends a longer frame, and does not connect again. So this only
#: protects the memory: what is too long for a message is refused when it is read.
MAX_FRAME = 10 * messages.MAX_TEXT


#: Messages that wait in the reader's own process. All others wait at their publisher, which has the
#: longer queue, and of fewer bytes.
AHEAD = 64
#: On tcp, the system gives up a peer that has not answered for this long. On ipc the kernel reports
#: the end of a peer at once.
GONE_S = 20
#: Urgent messages in a row, after which the others have their turn.
URGENT_AT_ONCE = 64


#: What a Poller found to be ready.
Ready = Sequence["zmq.Socket[bytes] | int"]


class BusError(Exception):
    """Raised when the bus cannot be used: its directory is unsafe, or an endpoint cannot be
    bound.
    """


def default_directory() -> Path:
    """Give the user's own runtime directory, or one under the temporary directory."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # one that is not absolute would be another place for each stage, and is to be ignored
    if Path(runtime).is_absolute():
        return Path(runtime) / "bargein"
    return Path(tempfile.gettempdir()) / f"bargein-{os.getuid()}"


def prepare_directory(directory: Path) -> Path:
    """Make the bus directory, mode 0700, or check that the one there is ours alone.

    Raises BusError where it is a link, another user's, open to others, or its path too long for a
    socket.
    """
    longest = max(len(t.endpoint) for t in registry.TOPICS) + len("/.ipc")
    if len(os.fsencode(str(directory))) + longest > MAX_PATH:
        raise BusError(
            f"bus directory {directory}: the path is too long for a socket"
            f" (at most {MAX_PATH - longest} bytes): set bus.directory to a shorter one"
        )
    try:
        for above in reversed(directory.parents):
            if not above.exists():
                above.mkdir(mode=0o700, exist_ok=True)
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass  # what it is, is looked at below
        found = directory.lstat()
    except OSError as error:
        raise BusError(
            f"bus directory {directory}: {error.strerror}:"
            " set bus.directory to one you can write to"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise BusError(
            f"bus directory {directory}: not a directory: remove it or set bus.directory"
        )
    if found.st_uid != os.getuid():
        raise BusError(
            f"bus directory {directory}: belongs to user {found.st_uid}, who could listen in:"
            " set bus.directory to one of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise BusError(
            f"bus directory {directory}: open to other users (mode"
            f" {stat.S_IMODE(found.st_mode):04o}): run chmod 700 {directory}"
        )
    for above in directory.resolve().parents:
        mode = above.stat().st_mode
        # in /tmp nobody but us can move it away; here anybody could, once it has been looked at
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise BusError(
                f"bus directory {directory}: anyone could put another in its place, since all can"
                f" write to {above}: run chmod o-w {above} or set bus.directory to another"
            )
    return directory


def _socket(kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.linger = 0
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    # Heartbeats of ZeroMQ's own (HEARTBEAT_IVL) stay off. With them libzmq aborts the process that
    # was stopped for longer than the timeout, or that has not read for a while when its peer goes
    # (stream_engine_base.cpp:310; libzmq's issue 4364). The system's keep-alive finds a peer that
    # is gone from the network without a word, idle or not.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, GONE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, GONE_S // 4)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, GONE_S * 1000)
    return socket


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(cast("int", socket.getsockopt(EVENTS)) & READABLE)


def _receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Give the next message's frames, none where there is none."""
    try:
        frames = [socket.recv(LAST)]
    except zmq.Again:
        return []
    while socket.getsockopt(RCVMORE):
        frames.append(socket.recv(LAST))
    return frames


#: What pyzmq's ``send`` comes to, without the Python around it.
_send_frame = cast("Callable[[zmq.Socket[bytes], bytes, int], None]", zmq.backend.Socket.send)


def _send(socket: zmq.Socket[bytes], frames: Frames) -> None:
    # one by one: send_multipart costs twice as much
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


class Publisher:
    """The topics of one stage. Not thread-safe: it belongs to the stage's loop.

    Raises BusError if an endpoint cannot be bound.
    """

    def __init__(self, stage: str, directory: Path, network: Network = LOCAL) -> None:
        self.stage = stage
        self._epoch = time.time_ns() // 1000
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._outlets: dict[str, _Outlet] = {}
        self._audiences: dict[zmq.Socket[bytes], Audience] = {}
        # Sockets used since we last read their subscriptions: a send can consume the event that a
        # poller waits for.
        self._used: set[zmq.Socket[bytes]] = set()
        self._looked_ns = 0  # when a live topic's socket was last added to _used
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
        socket = _socket(zmq.XPUB)
        # Each reader has a queue of its own, shared by the endpoint's topics: the longest applies.
        socket.setsockopt(zmq.SNDHWM, max(topic.queue.value for topic in topics))
        # Report every subscription and every end of one, also when the reader's process dies.
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        where = network.where(directory, endpoint)
        try:
            network.prepare(socket, endpoint, listens=True)
            socket.bind(where)
            if where.startswith("ipc://"):
                Path(where.removeprefix("ipc://")).chmod(0o600)
        except (zmq.ZMQError, OSError) as error:
            socket.close()
            self.close()
            raise BusError(f"{self.stage}: cannot publish on {where}: {error}") from None
        self.addresses.append(where)
        return socket

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """The sockets to poll for new subscriptions."""
        return list(self._sockets.values())

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
        now = time.monotonic_ns()
        stamp = messages.Stamp(seq=outlet.seq, epoch=self._epoch, t=now)
        outlet.seq += 1
        header, payload = codec.encode(message, stamp)
        socket, queue = outlet.socket, topic.queue
        if queue is Queue.LOSSLESS:
            frames = (outlet.consumed_name, header, payload)
            if outlet.hold is not None:
                outlet.hold.put(now, frames)
            else:
                _send(socket, frames)
        elif queue is Queue.STATE:
            outlet.last = message
        if outlet.observed or queue is not Queue.LOSSLESS:
            _send(socket, (outlet.name, header, payload))
        # Reading the subscriptions of a socket takes as long as a send. For a live topic, a new
        # reader can wait for 100 ms.
        if queue is not Queue.LIVE or now - self._looked_ns > LOOK_NS:
            self._looked_ns = now
            self._used.add(socket)
        return now

    def repeat_state(self) -> None:
        """Send every state topic's last message again, except the health; drop expired holds.

        The stage calls this once a second. It publishes its health itself, with new figures.
        """
        now = time.monotonic_ns()
        for outlet in self._outlets.values():
            if outlet.hold is not None:
                outlet.hold.trim(now)
            if outlet.last is not None and not isinstance(outlet.last, messages.Health):
                self.publish(outlet.last, outlet.topic)

    def welcome(self, among: Ready | None = None) -> list[str]:
        """Read new subscriptions and return them. To be called before each wait.

        ``among``: the sockets that a poller found ready; None: look at every socket. State topics
        are repeated for a new reader. Then its held messages are sent to a new consumer.
        """
        taken: list[str] = []
        for socket in self._sockets.values():
            if among is None or socket in among:
                self._used.add(socket)
        while self._used:
            socket = self._used.pop()
            new = self._subscriptions(socket)
            if new:
                self._repeat(socket, new)
                taken += new
        return taken

    def _subscriptions(self, socket: zmq.Socket[bytes]) -> list[str]:
        audience = self._audiences[socket]
        new: list[str] = []
        changed = False
        while _readable(socket):
            changed = True
            prefix = audience.told(socket.recv(zmq.NOBLOCK))
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
                for frames in outlet.hold.take(time.monotonic_ns()):
                    _send(socket, frames)
                outlet.hold = None
                self._used.add(socket)

    def close(self, linger_ms: int = 0) -> None:
        """Close the sockets; drop messages that are not sent within ``linger_ms``."""
        for socket in self._sockets.values():
            socket.close(linger_ms)
        self._sockets.clear()
        self._used.clear()


M = TypeVar("M", bound=messages.Message)


class Delivery(msgspec.Struct, Generic[M], frozen=True):
    """A message as it arrived."""

    topic: Topic
    message: M
    stamp: messages.Stamp
    restarted: bool  # the first of a publisher that was not this one before
    lost: int  # messages of this topic missing before it


@dataclass
class _Line:
    """What is known of one topic's publisher."""

    epoch: int = -1
    seq: int = -1
    retired: list[int] = field(default_factory=list)  # epochs of earlier runs


@dataclass
class Faults:
    """What a reader refused or missed, per topic; ``last`` says why it last refused one."""

    refused: Counter[str] = field(default_factory=Counter)  # not a message of the topic
    lost: Counter[str] = field(default_factory=Counter)  # gaps in seq
    stale: Counter[str] = field(default_factory=Counter)  # older than the topic's max_age_ms
    last: str = ""


class Subscriber:
    """What one stage reads. Not thread-safe: it belongs to the stage's loop.

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
        self._hurried = 0  # urgent messages in a row
        # of the publishers that may be on another machine
        self._clocks = {t.publisher: Clock() for t in rows if t.endpoint in network.addresses}
        # those that hold a message: a poller tells of them once
        self._unread: set[zmq.Socket[bytes]] = set()
        # topics with an endpoint of their own are urgent, and are looked at first
        urgent_first = sorted(rows, key=lambda topic: not topic.own_endpoint)
        for endpoint in dict.fromkeys(topic.endpoint for topic in urgent_first):
            here = [topic for topic in rows if topic.endpoint == endpoint]
            socket = _socket(zmq.SUB)
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
        self._all = frozenset(self._sockets)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """The sockets to poll, the urgent ones first."""
        return list(self._sockets)

    @property
    def unread(self) -> bool:
        """Whether there is more to receive, of which no poller will tell."""
        return bool(self._unread)

    def receive(self, among: Ready | None = None) -> Delivery[messages.Message] | None:
        """Give the next message, urgent topics first, or None when there is none now.

        ``among``: what a poller found ready since the last call; None: look at every socket. What
        is not a message of its topic is refused and counted, what is too old is dropped and
        counted; neither ends the search, unless there is a flood of it.
        """
        unread = self._unread
        if among is None:
            unread.update(self._sockets)
        elif among:
            unread.update(self._all.intersection(among))
        if not unread:
            return None
        in_turn = self._sockets if self._hurried < URGENT_AT_ONCE else self._sockets[::-1]
        for socket in in_turn:
            for _ in range(REFUSED_AT_ONCE):
                if socket not in unread:
                    break
                frames = _receive(socket)
                delivery = self._read(frames) if frames else None
                # to ask costs as much as to read: once for each message
                if not (frames and _readable(socket)):
                    unread.discard(socket)
                if delivery is not None:
                    self._turn_over(socket)
                    if unread:
                        # nothing urgent waits behind what else there is
                        unread.update(urgent for urgent in self._urgent if _readable(urgent))
                    return delivery
        return None

    def _turn_over(self, socket: zmq.Socket[bytes]) -> None:
        """Let the others be looked at before a socket that has given a message."""
        if socket in self._urgent:
            self._hurried += 1
            return
        self._hurried = 0
        if socket is not self._sockets[-1]:
            self._sockets.remove(socket)
            self._sockets.append(socket)

    def _read(self, frames: list[bytes]) -> Delivery[messages.Message] | None:
        topic = self._wanted.get(frames[0])
        if topic is None:
            # a subscription is a prefix: this is a longer name that was not asked for
            return None
        if len(frames) != 3:
            return self._refused(topic, f"{len(frames)} frames instead of 3")
        try:
            message, stamp = codec.decode(topic.type, frames[1], frames[2])
        except codec.BadMessage as error:
            return self._refused(topic, str(error))
        line = self._lines[topic.name]
        if stamp.epoch in line.retired or (stamp.epoch == line.epoch and stamp.seq <= line.seq):
            return self._refused(topic, "older than what was read before it")
        restarted = stamp.epoch != line.epoch and line.epoch >= 0
        lost = stamp.seq - line.seq - 1 if stamp.epoch == line.epoch else 0
        if restarted:
            line.retired = [*line.retired[-15:], line.epoch]
        line.epoch, line.seq = stamp.epoch, stamp.seq
        if lost:
            self.faults.lost[topic.name] += lost
        if (clock := self._clocks.get(topic.publisher)) is not None:
            message, stamp = clock.here(message, stamp, time.monotonic_ns())
        age_ms = (time.monotonic_ns() - stamp.t) // 1_000_000
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
        self._unread.clear()


class Poller:
    """Waits for sockets and file descriptors.

    A socket is told of once, when something comes: take all there is before the next wait. Its
    descriptor is what is waited for, because to ask every socket, as ZeroMQ's own poller does,
    costs more than all the rest of a turn. It also tells of what only ZeroMQ needs to know: there
    may be nothing to take.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, zmq.Socket[bytes] | int] = {}
        self._new: list[zmq.Socket[bytes]] = []  # may have something from before they were watched

    def watch(self, what: zmq.Socket[bytes] | int, *, write: bool = False) -> None:
        """Wait for ``what`` to be readable, or with ``write`` also writable."""
        descriptor = _descriptor(what)
        self._watched[descriptor] = what
        self._poll.register(descriptor, select.POLLIN | (select.POLLOUT if write else 0))
        if not isinstance(what, int):
            self._new.append(what)

    def unwatch(self, what: zmq.Socket[bytes] | int) -> None:
        """Wait for it no longer."""
        descriptor = _descriptor(what)
        del self._watched[descriptor]
        self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> list[zmq.Socket[bytes] | int]:
        """Give what is ready, after at most ``seconds``, rounded up to ms."""
        if self._new:
            new, self._new = self._new, []
            ready = [socket for socket in new if _readable(socket)]
            if ready:
                return [*ready]
        # up: what is due in a fraction of a ms would be waited for in a busy loop
        woken = self._poll.poll(max(0, math.ceil(seconds * 1000)))
        return [self._watched[descriptor] for descriptor, _ in woken]


def _descriptor(what: zmq.Socket[bytes] | int) -> int:
    return what if isinstance(what, int) else cast("int", what.getsockopt(zmq.FD))
