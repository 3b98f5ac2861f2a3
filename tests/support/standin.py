"""What a stage is to its own part, stood in for: its handlers, its timers, and what it was told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from shared import messages, registry
from shared.bus import Delivery
from shared.config import Config


class StandIn:
    """A stage without a bus. Cast it to one."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.logged: list[str] = []
        self.log = SimpleNamespace(info=lambda text, *values: self.logged.append(text % values))
        self.publisher = SimpleNamespace(subscribed=frozenset())
        self.counters: Counter[str] = Counter()
        self.warnings: list[str] = []
        self.ok, self.state = True, ""
        self.said: list[messages.Message] = []
        self.handlers: dict[type[messages.Message], Callable[[Delivery[Any]], None]] = {}
        self.timers: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []
        self._wake: list[Callable[[], None]] = []
        self._close: list[Callable[[], None]] = []

    # what the stage's part calls

    def subscribe(
        self, kind: type[messages.Message], handler: Callable[[Delivery[Any]], None]
    ) -> None:
        self.handlers[kind] = handler

    def publish(self, message: messages.Message) -> None:
        self.said.append(message)

    def every(self, seconds: float, handler: Callable[[], None]) -> None:
        self.timers.append(handler)

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        self.later.append(handler)

    def on_wake(self, handler: Callable[[], None]) -> None:
        self._wake.append(handler)

    def on_close(self, handler: Callable[[], None]) -> None:
        self._close.append(handler)

    def wake(self) -> None:
        """Nothing: ``tick`` does what is to be done then."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        self.counters[what] += number
        if warning:
            self.warnings.append(warning)

    # what the test calls

    def deliver(self, message: messages.Message) -> None:
        """Hand it a message."""
        stamp = messages.Stamp(seq=0, epoch=1, t=time.monotonic_ns())
        kind = type(message)
        self.handlers[kind](Delivery(registry.of(kind), message, stamp, restarted=False, lost=0))

    def tick(self) -> None:
        """Let it be woken, and every timer be due once."""
        for handler in (*self._wake, *self.timers):
            handler()

    def close(self) -> None:
        """End it."""
        for handler in self._close:
            handler()
