"""Publishers, subscribers and bare sockets, in the test's own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import zmq

from shared import bus, messages, registry
from shared.network import LOCAL
from shared.poller import Poller

#: How long a test waits for a message, s. A message takes less than 0.1 s, unless the test fails.
PATIENCE_S = 20.0


class Wires:
    """Publishers, subscribers and bare sockets in one directory, closed with the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._opened: list[bus.Publisher | bus.Subscriber | zmq.Socket[bytes]] = []

    def publisher(self, stage: str) -> bus.Publisher:
        """Open a stage's publisher."""
        opened = bus.Publisher(stage, self.directory)
        self._opened.append(opened)
        return opened

    def subscriber(
        self, *kinds: type[messages.Message] | registry.Topic, observer: bool = False
    ) -> bus.Subscriber:
        """Open a subscriber to some topics, in this order."""
        rows = [kind if isinstance(kind, registry.Topic) else registry.of(kind) for kind in kinds]
        opened = bus.Subscriber(rows, self.directory, observer=observer)
        self._opened.append(opened)
        return opened

    def bare(self, kind: int, endpoint: str, *, bind: bool) -> zmq.Socket[bytes]:
        """Open a socket on which the test sends and receives raw frames."""
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self._opened.append(socket)
        # Fail instead of waiting for ever.
        socket.setsockopt(zmq.RCVTIMEO, round(PATIENCE_S * 1000))
        # Drop nothing that the test sends.
        socket.setsockopt(zmq.SNDHWM, 0)
        where = LOCAL.where(self.directory, endpoint)
        if bind:
            socket.bind(where)
        else:
            socket.connect(where)
        return socket

    def foreign(self, endpoint: str, *names: str) -> zmq.Socket[bytes]:
        """Bind an endpoint as a foreign publisher, and wait until the topics are consumed."""
        socket = self.bare(zmq.XPUB, endpoint, bind=True)
        asked = {self.hear(socket) for _ in names}
        consumed = [registry.BY_NAME[name].consumed_name for name in names]
        assert asked == {b"\x01" + name.encode() for name in consumed}
        return socket

    def join(self, publisher: bus.Publisher, *names: str) -> list[str]:
        """Wait until some topics are consumed or observed; return all subscriptions that came."""
        came: list[str] = []
        self.wait(publisher, lambda: set(names) <= {each.removeprefix("!") for each in came}, came)
        return came

    def part(self, publisher: bus.Publisher, *names: str) -> None:
        """Wait until nobody consumes these lossless topics any more."""
        self.wait(publisher, lambda: publisher.held >= set(names))

    def wait(
        self,
        publisher: bus.Publisher,
        condition: Callable[[], bool],
        came: list[str] | None = None,
    ) -> None:
        """Let a publisher process subscriptions until a condition holds; add them to ``came``."""
        poller = Poller()
        for socket in (*publisher.sockets, *self._readers()):
            poller.watch(socket)
        end = time.monotonic() + PATIENCE_S
        came = [] if came is None else came
        while not condition():
            assert time.monotonic() < end, f"the condition does not hold; subscriptions: {came}"
            self._readable(poller)
            came += publisher.welcome()

    @staticmethod
    def _readable(poller: Poller) -> list[zmq.Socket[bytes]]:
        """Wait, let each socket that woke up do its work, and return those that can be read."""
        woken = [what for what in poller.wait(0.5) if not isinstance(what, int)]
        return [s for s in woken if int(s.getsockopt(zmq.EVENTS)) & zmq.POLLIN]

    def _readers(self) -> list[zmq.Socket[bytes]]:
        """Return the sockets of all readers.

        A reader's socket that reconnects sends its subscriptions only while it is polled.
        """
        readers = [opened for opened in self._opened if isinstance(opened, bus.Subscriber)]
        return [socket for reader in readers for socket in reader.sockets]

    def hear(self, sender: zmq.Socket[bytes]) -> bytes:
        """Wait for the next subscription on a bare socket, and return it."""
        poller = Poller()
        for socket in (sender, *self._readers()):
            poller.watch(socket)
        end = time.monotonic() + PATIENCE_S
        while sender not in self._readable(poller):
            assert time.monotonic() < end, "no subscription arrived"
        return sender.recv()

    def next(self, reader: bus.Subscriber) -> bus.Delivery[messages.Message]:
        """Wait for the next message, and return it."""
        poller = Poller()
        for socket in reader.sockets:
            poller.watch(socket)
        end = time.monotonic() + PATIENCE_S
        while (delivery := reader.receive()) is None:
            assert time.monotonic() < end, f"no message arrived; {reader.losses}"
            poller.wait(0.5)
        return delivery

    def ready(self, reader: bus.Subscriber) -> None:
        """Wait until each of a reader's sockets has a message."""
        end = time.monotonic() + PATIENCE_S
        for socket in reader.sockets:
            assert socket.poll(round((end - time.monotonic()) * 1000)), "no message arrived"

    def close(self) -> None:
        """Close every publisher, subscriber and socket."""
        for opened in self._opened:
            if isinstance(opened, zmq.Socket):
                opened.close(bus.LINGER if opened.type == zmq.XPUB else 0)
            else:
                opened.close()


def taking(wires: Wires, endpoint: str) -> Callable[[], None]:
    """Return a function that takes an endpoint as a foreign stage without a lock does."""

    def take() -> None:
        wires.bare(zmq.PUB, endpoint, bind=True)

    return take
