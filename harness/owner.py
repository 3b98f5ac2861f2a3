"""A stage as its modules see it, without a bus and with a time that the caller lets pass."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shared import messages
from shared.config import Config

#: The time stamp of each message, ns.
AT_NS = 5_000_000_000_000


class StandIn:
    """Stands in for a stage: keeps what is published and counted, and the timers."""

    def __init__(self, config: Config | None = None) -> None:
        self.ok = True
        self.state = ""
        self.log = logging.getLogger("bargein")
        self.config = config or Config()
        self.directory = Path()
        self.published: list[messages.Message] = []
        self.counters: Counter[str] = Counter()
        #: The timers that have not rung: the seconds and the handler of each.
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.stopped = 0

    def publish(self, message: messages.Message) -> int:
        """Keep a message."""
        self.published.append(message)
        return AT_NS

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Keep a timer."""
        self.timers.append((seconds, handler))

    def count(self, what: str, number: int = 1, warning: str = "") -> None:  # noqa: ARG002
        """Count, without a log line."""
        self.counters[what] += number

    def stop(self) -> None:
        """Count that the stage was asked to end."""
        self.stopped += 1

    def pass_time(self, seconds: float | None = None) -> None:
        """Let the timers ring, each once: all of them, or those of this length alone."""
        timers, self.timers = self.timers, []
        for wait, handler in timers:
            if seconds is None or wait == seconds:
                handler()
            else:
                self.timers.append((wait, handler))
