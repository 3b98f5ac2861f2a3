"""Functions that wait for the readers of a publisher's topics."""

from __future__ import annotations

import time
from collections.abc import Callable

from shared import bus, registry
from shared.poller import Poller
from tests.support.pipeline import PATIENCE_S


def attend(publisher: bus.Publisher, condition: Callable[[], object], missing: str) -> None:
    """Let a publisher process subscriptions until a condition holds."""
    poller = Poller()
    for socket in publisher.sockets:
        poller.watch(socket)
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, missing
        publisher.welcome()
        poller.wait(0.1)


def wait_for_readers(publisher: bus.Publisher, *wanted: str, readers: int = 2) -> None:
    """Wait for ``readers`` new readers of each topic, whether they consume or observe it.

    Two are the stage under test and the test's listener.
    """
    poller = Poller()
    for socket in publisher.sockets:
        poller.watch(socket)
    missing = [*wanted] * readers
    while missing:
        assert poller.wait(PATIENCE_S), f"nobody reads {missing}"
        for prefix in publisher.welcome():
            name = prefix.removeprefix(registry.CONSUMED)
            if name in missing:
                missing.remove(name)


def join(publisher: bus.Publisher, topic: str) -> None:
    """Wait until somebody reads a topic."""
    attend(publisher, lambda: topic in publisher.subscribed, f"nobody reads {topic}")
