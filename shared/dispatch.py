"""The handlers of a stage, and how a message gets to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from shared import bus, messages, registry
from shared.arrivals import Arrivals
from shared.counters import Counters

M = TypeVar("M", bound=messages.Message)
Handler = Callable[[bus.Delivery[Any]], None]


class Dispatch:
    """Calls the handlers of each message, and counts the messages that were lost."""

    def __init__(self, stage: str, counters: Counters) -> None:
        self._row = registry.stage(stage)
        self._counters = counters
        self._handlers: dict[str, Handler] = {}
        self._observer: Handler | None = None
        #: Counts the messages of the topics that have a handler. ``start`` replaces it.
        self.arrivals = Arrivals((), 0.0)

    def subscribe(
        self, kind: type[M], handler: Callable[[bus.Delivery[M]], None], topic: str | None
    ) -> None:
        """Register the handler of a message type. Raises ValueError: see Stage.subscribe."""
        row = registry.BY_NAME[topic] if topic else registry.of(kind)
        if row.name not in self._row.reads:
            raise ValueError(
                f"{self._row.name} does not read {row.name}: add the topic to the stage's row in"
                " shared/registry.py"
            )
        self._handlers[row.name] = cast("Handler", handler)

    def observe_all(self, handler: Handler) -> None:
        """Register the handler of every message. Raises ValueError: see Stage.observe_all."""
        if not self._row.observes:
            name = self._row.name
            raise ValueError(f"{name} does not observe: subscribe to the topics that it reads")
        self._observer = handler

    @property
    def has_observer(self) -> bool:
        """Whether there is a handler of every message."""
        return self._observer is not None

    @property
    def rows(self) -> list[registry.Topic]:
        """The topics that have a handler of their own."""
        return [registry.BY_NAME[name] for name in self._handlers]

    def start(self, now_s: float) -> None:
        """Begin to judge what arrives."""
        self.arrivals = Arrivals(self.rows, now_s)

    def deliver(self, delivery: bus.Delivery[messages.Message]) -> None:
        """Call the handlers of a message."""
        name = delivery.topic.name
        if delivery.lost and delivery.topic.queue is registry.Queue.LOSSLESS:
            self._counters.add(
                "lost_messages",
                delivery.lost,
                f"{name}: {delivery.lost} messages lost on the bus:"
                f" {self._row.name} or its neighbour was stopped for too long",
            )
        if self._observer is not None:
            self._observer(delivery)
        if (handler := self._handlers.get(name)) is not None:
            self.arrivals.received[name] += 1
            handler(delivery)
