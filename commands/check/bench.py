"""A private bus with the stage under test on it, where the kit takes the place of its neighbours.

The kit speaks ZeroMQ itself, as docs/bus.md describes it, and not by way of shared/bus/: so a
stage is measured by the document.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import zmq

from commands.check.place import Place
from commands.check.process import StageProcess, end
from shared import codec, messages, registry

#: How long the kit waits for a stage to start, and for each thing that the stage has to do, s: long
#: enough for a busy machine.
START_S, PATIENCE_S = 10.0, 4.0
#: The kit repeats its own state topics this often, s: as every stage does.
REPEAT_S = 1.0

M = TypeVar("M", bound=messages.Message)
T = TypeVar("T")


@dataclass(frozen=True)
class Arrival:
    """A message of the stage under test, as it arrived."""

    topic: str
    consumed: bool
    """Whether the message came under the name for consumers, ``!name``."""
    message: messages.Message
    stamp: messages.Stamp
    at_ns: int
    """When the kit received the message, ns of CLOCK_MONOTONIC."""
    again: bool
    """Whether the message had come before, under its other name."""


class Bench(StageProcess):
    """The bus directory, the stage under test, the kit's places, and what was heard so far."""

    def __init__(
        self,
        stage: str,
        command: Sequence[str],
        settings: Mapping[str, str] | None = None,
        observes: Sequence[str] = (),
    ) -> None:
        self.stage = stage
        self._observes = observes
        # in /tmp whatever TMPDIR says: a socket's path has to be short
        directory = Path(tempfile.mkdtemp(prefix="bargein-check-", dir="/tmp"))
        super().__init__(command, directory, settings or {})
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.heard: list[Arrival] = []
        self._seen: Counter[tuple[str, int, int]] = Counter()  # by name, epoch and seq
        #: Why messages of the stage could not be read.
        self.unreadable: list[str] = []
        self.places: dict[str, Place] = {}
        self._repeated = 0.0
        self._ears: list[zmq.Socket[bytes]] = []
        self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the bus

    def listen(self) -> None:
        """Connect to the stage under test, as an observer of all its topics and their consumer.

        If other stages were given to observe, connect to these, and consume nothing.
        """
        stages = self._observes or (self.stage,)
        rows = [row for stage in stages for row in registry.published_by(stage)]
        self._ears += self.connect(rows, consume=not self._observes)

    def connect(self, rows: Sequence[registry.Topic], *, consume: bool) -> list[zmq.Socket[bytes]]:
        """Return new sockets that observe topics, and also consume the lossless ones if asked."""
        sockets = []
        for name in dict.fromkeys(row.endpoint for row in rows):
            socket = self._context.socket(zmq.SUB)
            socket.linger = 0
            socket.setsockopt(zmq.RECONNECT_IVL, 20)
            for row in rows:
                if row.endpoint == name:
                    socket.subscribe(row.name.encode())
                    if row.queue is registry.Queue.LOSSLESS and consume:
                        socket.subscribe(b"!" + row.name.encode())
            socket.connect(f"ipc://{self.directory}/{name}.ipc")
            sockets.append(socket)
        return sockets

    def listen_anew(self) -> None:
        """Disconnect as a reader, and connect again."""
        for socket in self._ears:
            socket.close()
        self._ears.clear()
        self.listen()

    @contextmanager
    def without(self, names: Iterable[str]) -> Iterator[None]:
        """Unsubscribe from these names, and subscribe again afterwards."""
        prefixes = [name.encode() for name in names]
        for socket, prefix in itertools.product(self._ears, prefixes):
            socket.unsubscribe(prefix)
        try:
            yield
        finally:
            for socket, prefix in itertools.product(self._ears, prefixes):
                socket.subscribe(prefix)

    def first_of_each(
        self, sockets: Sequence[zmq.Socket[bytes]], names: Sequence[str], seconds: float
    ) -> set[str]:
        """Return the topics in ``names`` of which a message comes to ``sockets`` in ``seconds``."""
        missing = set(names)
        deadline = time.monotonic() + seconds
        while missing and time.monotonic() < deadline:
            self.pump(0)
            for socket in sockets:
                while socket.poll(2):
                    missing.discard(socket.recv_multipart()[0].decode("utf-8", "replace"))
        return set(names) - missing

    def take(self, *stages: str) -> None:
        """Take the places of stages."""
        for stage in stages:
            self.places[stage] = Place(self._context, self.directory, stage)

    def give_back(self, *stages: str) -> None:
        """Close the sockets of stages: the stage under test sees these stages end."""
        for stage in stages:
            self.places.pop(stage).close()

    def publish(self, message: messages.Message, topic: str = "") -> int:
        """Publish a message in its publisher's place. Return its time stamp, ns."""
        row = registry.BY_NAME[topic] if topic else registry.of(type(message))
        return self.places[row.publisher].publish(row, message)

    def send(self, topic: str, *frames: bytes) -> None:
        """Send frames as they are, under the names of a topic."""
        row = registry.BY_NAME[topic]
        self.places[row.publisher].send(row, *frames)

    def subscribed(self, topic: str, *, consumed: bool = False, readers: int = 1) -> bool:
        """Return whether ``readers`` stages subscribe to a topic (or consume it)."""
        place = self.places.get(registry.BY_NAME[topic].publisher)
        if place is None:
            return False
        names = [f"!{topic}".encode()] if consumed else [f"!{topic}".encode(), topic.encode()]
        return sum(place.subscriptions[name] for name in names) >= readers

    def pump(self, seconds: float) -> None:
        """Receive and repeat for at most ``seconds``; return after the first message."""
        poller = zmq.Poller()
        for socket in self._ears:
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(max(0, int(seconds * 1000))))
        for socket in ready:
            while socket.poll(0):
                self._read(socket.recv_multipart())
        new = [place for place in self.places.values() if place.welcome()]
        now = time.monotonic()
        if now - self._repeated > REPEAT_S:
            self._repeated = now
            new = list(self.places.values())
        for place in new:
            place.repeat()

    def _read(self, frames: list[bytes]) -> None:
        at_ns = time.monotonic_ns()
        name = frames[0].decode("utf-8", "replace")
        topic = name.removeprefix("!")
        row = registry.BY_NAME.get(topic)
        if row is None:
            self.unreadable.append(f"{name}: no such topic")
            return
        if len(frames) != 3:
            self.unreadable.append(f"{name}: {len(frames)} frames instead of 3")
            return
        try:
            message, stamp = codec.decode(row.type, frames[1], frames[2])
        except codec.BadMessage as error:
            self.unreadable.append(f"{name}: {error}")
            return
        key, other = ((n, stamp.epoch, stamp.seq) for n in (name, twin(name)))
        self._seen[key] += 1
        again = self._seen[key] <= self._seen[other]
        self.heard.append(Arrival(topic, name != topic, message, stamp, at_ns, again))

    def until(self, condition: Callable[[], T], seconds: float = PATIENCE_S) -> T | None:
        """Receive until a condition holds, and return its value; None after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.pump(min(left, 0.02))
        return found

    def rest(self, seconds: float) -> None:
        """Receive for ``seconds``."""
        self.until(lambda: False, seconds)

    @property
    def now(self) -> int:
        """A mark for ``since``: the number of messages that have arrived."""
        return len(self.heard)

    def arrivals(self, topic: str, since: int = 0) -> list[Arrival]:
        """Return the messages of a topic, each once, in their order, since a mark."""
        return [a for a in self.heard[since:] if a.topic == topic and not a.again]

    def all(self, kind: type[M], since: int = 0, topic: str = "") -> list[M]:
        """Return the messages of a type, each once, in their order, since a mark.

        ``topic`` is needed for Health, which has many.
        """
        topic = topic or registry.of(kind).name
        return [a.message for a in self.arrivals(topic, since) if isinstance(a.message, kind)]

    def close(self) -> None:
        """End the stage, and remove the bus."""
        if self.process is not None:
            end(self.process)
        for place in self.places.values():
            place.close()
        for socket in self._ears:
            socket.close()
        self._context.term()
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def twin(name: str) -> str:
    """Return the other name of a message: that for consumers, or that for observers."""
    return name[1:] if name.startswith("!") else f"!{name}"
