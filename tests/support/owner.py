"""A stage as a part of it sees the stage, in tests of the part alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shared import messages


class Owner:
    """A stage that keeps what is published, and whose timers ring when the test says so."""

    ok = True
    log = logging.getLogger("test")

    def __init__(self) -> None:
        self.published: list[messages.Message] = []
        self.due: list[Callable[[], None]] = []

    def publish(self, message: messages.Message) -> int:
        """Keep a message."""
        self.published.append(message)
        return 0

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Keep a timer."""
        self.due.append(handler)

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Count nothing."""
