"""The flushes that uplink has seen, and whether the server knows the outcome of each. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from shared import messages

#: The most flushes that wait for playback's report: a server can report speech as often as it
#: likes.
MAX_WAITING = 64
#: How many reported generations are remembered.
REMEMBERED = 64


@dataclass(frozen=True)
class Waiting:
    """A flush whose report has not come from playback, and what uplink cancelled for it."""

    flush: messages.Flush
    cancelled: list[str]

    @property
    def counted(self) -> set[tuple[str, int]]:
        """The items of which downlink knows how much came. Others may be longer than reported."""
        return {(i.item_id, i.content_index) for i in self.flush.received if i.received}


class Flushes:
    """Keeps each flush until its outcome was reported to the server, which happens once."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}  # by generation
        self._reported: deque[int] = deque(maxlen=REMEMBERED)  # generations

    def add(self, flush: messages.Flush, cancelled: list[str]) -> bool:
        """Wait for the report of a flush. Return False if the report came before the flush."""
        if flush.generation in self._reported:
            return False
        self._waiting[flush.generation] = Waiting(flush, cancelled)
        return True

    def overdue(self) -> int:
        """Return the oldest flush's generation if too many wait; 0: they do not."""
        return next(iter(self._waiting)) if len(self._waiting) > MAX_WAITING else 0

    def waiting(self, generation: int) -> messages.Flush | None:
        """Return a flush if its report has not come."""
        found = self._waiting.get(generation)
        return found.flush if found else None

    def reported(self, generation: int) -> bool:
        """Return whether the server knows the outcome of a flush."""
        return generation in self._reported

    def mark_reported(self, generation: int) -> Waiting | None:
        """Mark a flush as reported. Return it, or None if uplink has not seen the flush."""
        if generation not in self._reported:
            self._reported.append(generation)
        return self._waiting.pop(generation, None)
