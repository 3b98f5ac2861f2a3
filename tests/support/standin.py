"""A substitute for a ``Stage``, for tests of a stage's logic without a bus or a clock."""

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
    """A stage without a bus, which records messages, counters and log lines. Cast it to Stage."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.logged: list[str] = []
        self.log = SimpleNamespace(info=lambda text, *values: self.logged.append(text % values))
        self.publisher = SimpleNamespace(subscribed=frozenset())
        self.counters: Counter[str] = Counter()
        self.warnings: list[str] = []
        self.ok, self.state = True, ""
        self._number = 0
        self.replayed_speaker = None
        self.said: list[messages.Message] = []
        self.handlers: dict[type[messages.Message], Callable[[Delivery[Any]], None]] = {}
        self.timers: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []
        self._wake: list[Callable[[], None]] = []
        self._close: list[Callable[[], None]] = []

    # The methods of Stage that a stage's logic calls.

    def number(self) -> int:
        self._number += 1
        return self._number

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
        """Do nothing: ``tick`` calls the handlers."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        self.counters[what] += number
        if warning:
            self.warnings.append(warning)

    # The methods that a test calls.

    def deliver(self, message: messages.Message) -> None:
        """Call the handler of a message."""
        stamp = messages.Stamp(seq=0, epoch=1, t=time.monotonic_ns())
        kind = type(message)
        self.handlers[kind](Delivery(registry.of(kind), message, stamp, restarted=False, lost=0))

    def tick(self) -> None:
        """Call the handlers of a wake-up, and each timer's handler once."""
        for handler in (*self._wake, *self.timers):
            handler()

    def close(self) -> None:
        """Call the handlers of the stage's end."""
        for handler in self._close:
            handler()
