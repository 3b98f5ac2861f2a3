"""Observes topics of a bus, without taking the messages that are held for a stage."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared import bus, messages, registry
from shared.network import LOCAL, Network
from shared.poller import Poller

#: How long the end can wait for messages, s.
LOOK_S = 0.1


def deliveries(
    topics: Sequence[registry.Topic],
    directory: Path,
    ending: threading.Event,
    network: Network = LOCAL,
) -> Iterator[list[bus.Delivery[messages.Message]]]:
    """Yield lists of the messages that have arrived, some empty, until ``ending`` is set."""
    subscriber = bus.Subscriber(topics, directory, network, observer=True)
    poller = Poller()
    for sock in subscriber.sockets:
        poller.watch(sock)
    while not ending.is_set():
        poller.wait(LOOK_S)
        yield list(iter(subscriber.receive, None))
    subscriber.close()
