"""The timers of a loop. Pure: the time is an argument."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable


class Timers:
    """Handlers that are due at a time, s of the monotonic clock, once or again and again."""

    def __init__(self) -> None:
        #: The time, the order among those due at that time, the period (0: once), the handler.
        self._heap: list[tuple[float, int, float, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, due_s: float, handler: Callable[[], None], period_s: float = 0.0) -> None:
        """Add a handler. ``period_s``: the time between two calls; 0: it is called once."""
        heapq.heappush(self._heap, (due_s, next(self._order), period_s, handler))

    @property
    def next_s(self) -> float:
        """When the next handler is due; infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now_s: float) -> Callable[[], None] | None:
        """Return the next handler that is due, or None. A handler with a period is added again."""
        if self.next_s > now_s:
            return None
        due_s, _, period_s, handler = heapq.heappop(self._heap)
        if period_s:
            # A loop that was stopped for long does not make up for the calls that it missed.
            again_s = due_s + period_s
            self.add(again_s if again_s > now_s else now_s + period_s, handler, period_s)
        return handler
