"""Takes a stage's place on the bus, and says what a test likes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared import bus, codec, messages, registry
from tests.support.pipeline import PATIENCE_S, Pipeline


class Forger:
    """Takes the place of a stage that is not running, and publishes what it likes."""

    def __init__(self, stage: str, pipeline: Pipeline) -> None:
        self._publisher = bus.Publisher(stage, pipeline.bus_directory)
        self._sequence = itertools.count()

    def wait_for_readers(self, *wanted: str) -> None:
        """Wait until topics are read by the stage under test, and by the tests' listener."""
        poller = bus.Poller()
        for each in self._publisher.sockets:
            poller.watch(each)
        missing = [*wanted, *wanted]
        while missing:
            assert poller.wait(PATIENCE_S), f"nobody reads {missing}"
            for prefix in self._publisher.welcome():
                name = prefix.removeprefix(registry.CONSUMED)
                if name in missing:
                    missing.remove(name)

    def send(self, topic: str, *frames: bytes) -> None:
        """Send frames as they are, to the consumers and the observers of a topic."""
        row = registry.BY_NAME[topic]
        socket = self._publisher._sockets[row.endpoint]
        for name in {row.name, row.consumed_name}:
            socket.send_multipart([name.encode(), *frames])

    def publish(self, message: messages.Message, topic: str = "") -> None:
        """Send a message, valid in form."""
        row = registry.BY_NAME[topic] if topic else registry.of(type(message))
        stamp = messages.Stamp(seq=next(self._sequence), epoch=1, t=time.monotonic_ns())
        self.send(row.name, *codec.encode(message, stamp))

    def close(self) -> None:
        """Give the place back."""
        self._publisher.close()


@contextmanager
def forging(stage: str, pipeline: Pipeline, *wanted: str) -> Iterator[Forger]:
    """Take a stage's place for the length of a ``with``."""
    forger = Forger(stage, pipeline)
    try:
        forger.wait_for_readers(*wanted)
        yield forger
    finally:
        forger.close()
