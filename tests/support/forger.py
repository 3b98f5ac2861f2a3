"""A publisher in the place of a stage, which sends any message that a test wants to send."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared import bus, codec, messages, registry
from tests.support.pipeline import Pipeline
from tests.support.readers import wait_for_readers


class Forger:
    """Publishes a test's messages in the place of a stage that is not running."""

    def __init__(self, stage: str, pipeline: Pipeline) -> None:
        self.publisher = bus.Publisher(stage, pipeline.bus_directory)
        self._sequence = itertools.count()

    def send(self, topic: str, *frames: bytes) -> None:
        """Send frames without a check, to the consumers and the observers of a topic."""
        row = registry.BY_NAME[topic]
        socket = self.publisher._sockets[row.endpoint]
        for name in {row.name, row.consumed_name}:
            socket.send_multipart([name.encode(), *frames])

    def publish(self, message: messages.Message, topic: str = "") -> None:
        """Send a message with a valid header."""
        row = registry.BY_NAME[topic] if topic else registry.of(type(message))
        stamp = messages.Stamp(seq=next(self._sequence), epoch=1, t=time.monotonic_ns())
        self.send(row.name, *codec.encode(message, stamp))

    def close(self) -> None:
        """Close the publisher, so that the stage can start."""
        self.publisher.close()


@contextmanager
def forging(stage: str, pipeline: Pipeline, *wanted: str) -> Iterator[Forger]:
    """Take a stage's place inside a ``with`` block; first wait for the readers of ``wanted``."""
    forger = Forger(stage, pipeline)
    try:
        wait_for_readers(forger.publisher, *wanted)
        yield forger
    finally:
        forger.close()


def command(pipeline: Pipeline, name: str, readers: int = 3, **fields: str) -> int:
    """Publish a person's command in the place of a monitor; return its time stamp, ns.

    ``readers``: how many readers to wait for: downlink, uplink and the test's listener.
    """
    publisher = bus.Publisher("monitor", pipeline.bus_directory)
    try:
        wait_for_readers(publisher, "control", readers=readers)
        made = messages.Control(command=name, **fields)  # type: ignore[arg-type]
        return publisher.publish(made)
    finally:
        publisher.close()
