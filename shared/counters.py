"""The counters of a stage's health, and the warnings that go with them."""

from __future__ import annotations

import logging
from collections import Counter

from shared import network, now
from shared.bus import Publisher
from shared.bus.subscriber import Losses

#: A warning that repeats is logged this often, s, with its count.
REPEAT_S = 10.0


class Counters:
    """Counts what went wrong, and logs each kind of warning at most every ten seconds."""

    def __init__(self, log: logging.Logger) -> None:
        self.values: Counter[str] = Counter()
        self._log = log
        #: When a counter's warning was last logged, s, and what the counter was then.
        self._logged: dict[str, tuple[float, int]] = {}
        self._strangers_before = network.refused()

    def add(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add to a counter. Log ``warning``, unless it was logged in the last ten seconds."""
        self.values[what] += number
        if not warning:
            return
        at_s = now.monotonic()
        logged_s, count = self._logged.get(what, (-REPEAT_S, 0))
        if at_s - logged_s >= REPEAT_S:
            total = self.values[what]
            again = f" ({total - count} times, {total} in all)" if count else ""
            self._log.warning("%s%s", warning, again)
            self._logged[what] = (at_s, total)

    def read_bus(self, losses: Losses, publisher: Publisher) -> None:
        """Count what the sockets refused, missed or cut off since the last call."""
        for what in ("refused", "lost", "stale"):
            for topic, number in getattr(losses, what).items():
                self.values[f"{what}.{topic}"] = number
        self._grow("refused", sum(losses.refused.values()), losses.last)
        self._grow(
            "strangers",
            network.refused() - self._strangers_before,
            "a peer with another key tried to connect and was refused: has it this bus's key?",
        )
        self._grow(
            "peers_cut",
            publisher.cut,
            "a reader with too many subscriptions, or one of too many connections without any,"
            " was cut off",
        )

    def _grow(self, what: str, total: int, warning: str) -> None:
        """Set a counter to a larger total, with a warning; do nothing if the total is the same."""
        if total > self.values[what]:
            self.add(what, total - self.values[what], warning)
