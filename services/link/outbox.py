"""What waits to be sent, and what of it has waited too long. Pure."""

from __future__ import annotations

from collections import deque

from shared import messages

#: Events that wait at most: three minutes of microphone, though none of that waits for so long.
LONGEST = 10_000


class Outbox:
    """Client events in the order they came; those past their time are dropped and counted."""

    def __init__(self) -> None:
        self.expired = 0
        self._events: deque[messages.ClientEvent] = deque()

    def put(self, event: messages.ClientEvent) -> None:
        """Take one more, unless far too many wait already."""
        if len(self._events) < LONGEST:
            self._events.append(event)
        else:
            self.expired += 1

    def first(self, now_ns: int) -> messages.ClientEvent | None:
        """Give the next one to send, and keep it; None when there is none."""
        while self._events and 0 < self._events[0].expires_ns < now_ns:
            self._events.popleft()
            self.expired += 1
        return self._events[0] if self._events else None

    def sent(self) -> None:
        """Let go of the first one."""
        self._events.popleft()

    def clear(self) -> int:
        """Let go of them all; give how many there were."""
        dropped = len(self._events)
        self._events.clear()
        return dropped
