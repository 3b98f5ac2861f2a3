"""A substitute for a ``Stage`` and its handlers, for tests without a bus or a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from harness.owner import StandIn
from shared import messages, registry
from shared.bus import Delivery
from shared.config import Config


class StageStandIn(StandIn):
    """A stand-in that also has a stage's handlers and warnings. Cast it to Stage."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.logged: list[str] = []
        self.log: Any = SimpleNamespace(
            info=lambda text, *values: self.logged.append(text % values)
        )
        self.publisher = SimpleNamespace(subscribed=frozenset())
        self.warnings: list[str] = []
        self.replayed_speaker = None
        self.handlers: dict[type[messages.Message], Callable[[Delivery[Any]], None]] = {}
        self._number = 0
        self._periodic: list[Callable[[], None]] = []
        self._wake: list[Callable[[], None]] = []
        self._close: list[Callable[[], None]] = []

    # The methods of Stage that a stage's logic calls.

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def subscribe(
        self, kind: type[messages.Message], handler: Callable[[Delivery[Any]], None]
    ) -> None:
        self.handlers[kind] = handler

    def every(self, seconds: float, handler: Callable[[], None]) -> None:
        self._periodic.append(handler)

    def on_wake(self, handler: Callable[[], None]) -> None:
        self._wake.append(handler)

    def on_close(self, handler: Callable[[], None]) -> None:
        self._close.append(handler)

    def wake(self) -> None:
        """Do nothing: ``tick`` calls the handlers."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        super().count(what, number)
        if warning:
            self.warnings.append(warning)

    # The methods that a test calls.

    def deliver(self, message: messages.Message) -> None:
        """Call the handler of a message."""
        stamp = messages.Stamp(seq=0, epoch=1, t=time.monotonic_ns())
        kind = type(message)
        self.handlers[kind](Delivery(registry.of(kind), message, stamp, restarted=False, lost=0))

    def tick(self) -> None:
        """Call the handlers of a wake-up, and each periodic handler once."""
        for handler in (*self._wake, *self._periodic):
            handler()

    def close(self) -> None:
        """Call the handlers of the stage's end."""
        for handler in self._close:
            handler()
