"""The client events that wait to be sent. Pure."""

from __future__ import annotations

from collections import deque

from shared import messages

#: The most events that wait: three minutes of microphone, although audio expires long before that.
LONGEST = 10_000


class Outbox:
    """Client events in the order in which they came. An expired event is dropped and counted."""

    def __init__(self) -> None:
        self.expired = 0
        self._events: deque[messages.ClientEvent] = deque()

    def put(self, event: messages.ClientEvent) -> None:
        """Add an event. If the outbox is full, drop the event and count it as expired."""
        if len(self._events) < LONGEST:
            self._events.append(event)
        else:
            self.expired += 1

    def first(self, now_ns: int) -> messages.ClientEvent | None:
        """Return the next event to send and leave it here; None if there is none."""
        while self._events and 0 < self._events[0].expires_ns < now_ns:
            self._events.popleft()
            self.expired += 1
        return self._events[0] if self._events else None

    def remove_first(self) -> None:
        """Remove the first event."""
        self._events.popleft()

    def clear(self) -> int:
        """Remove all events; return how many there were."""
        dropped = len(self._events)
        self._events.clear()
        return dropped
