"""A publisher: the topics of one stage, as the stage sends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import zmq

from shared import codec, messages, now, registry
from shared.bus.peers import Peers
from shared.bus.readers import Audience, Hold
from shared.bus.sockets import is_readable, open_socket, send
from shared.directory import BusError
from shared.network import LOCAL, Network
from shared.numbers import Numbers
from shared.poller import Ready
from shared.registry import Queue, Topic

#: The longest frame that a publisher takes, bytes: a subscription, which is a topic's name, or a
#: message of the handshake, at most 400 bytes. For each byte of a subscription libzmq takes up to
#: 40 bytes of memory.
MAX_REQUEST = 1024
#: Subscriptions that libzmq reads ahead for each connection, and how many a publisher takes from an
#: endpoint in one round of the loop. The first number is above that of the topics of an endpoint: a
#: reader's subscriptions are then seen together, and the states come before the messages that were
#: held for it.
REQUESTS_AHEAD, REQUESTS_AT_ONCE = 16, 256
#: How long a peer may take for the handshake, ms. A handshake takes milliseconds, and a peer that
#: was stopped during it tries again. A stranger's connection holds a descriptor until this time is
#: over.
HANDSHAKE_MS = 2000
#: A closed publisher goes on sending what is queued, until its process ends. If libzmq has to drop
#: the queue instead (LINGER of 0 or more), and a reader that does not read disconnects at that
#: moment, libzmq aborts the process (session_base.cpp:233).
LINGER = -1


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
        #: The epoch and the stage's other numbers that only grow.
        self.numbers = Numbers(directory, stage)
        self._epoch = self.numbers.next()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._outlets: dict[str, _Outlet] = {}
        self._audiences: dict[zmq.Socket[bytes], Audience] = {}
        self._peers: dict[zmq.Socket[bytes], Peers] = {}
        # The ipc files that this publisher bound, with their inodes.
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
        socket = open_socket(zmq.XPUB, MAX_REQUEST)
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
        """How many peers were cut off because they took too much; see peers.py."""
        return sum(peers.cut for peers in self._peers.values())

    @property
    def held(self) -> frozenset[str]:
        """The names of the lossless topics that nobody consumes: their messages are held."""
        return frozenset(o.topic.name for o in self._outlets.values() if o.hold is not None)

    def consumers(self, topic: Topic) -> int:
        """Return how many stages consume a topic now."""
        return self._audiences[self._outlets[topic.name].socket].counts[topic.consumed_name]

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
                send(socket, frames)
        elif queue is Queue.STATE:
            outlet.last = message
        if outlet.observed or queue is not Queue.LOSSLESS:
            send(socket, (outlet.name, header, payload))
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
        """Send every state topic's last message again, except the health.

        The stage calls this once a second. It publishes its health itself, with new figures. Held
        messages that are too old are dropped.
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
            if not is_readable(socket):
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
        # After the states: a reader of held audio first has to learn which audio is still to be
        # played.
        for outlet in here:
            if outlet.hold is not None and self._audiences[socket].consumed(outlet.topic):
                for frames in outlet.hold.take(now.monotonic_ns()):
                    send(socket, frames)
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
    """Wait until closed publishers have sent everything, for ``seconds`` at most.

    The process can use no socket afterwards: call this at its end.
    """
    waiting = threading.Thread(target=zmq.Context.instance().term, daemon=True)
    waiting.start()
    waiting.join(seconds)
