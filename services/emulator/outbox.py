"""The queue of events that a session will send, and its actions for a later time."""

from __future__ import annotations

import heapq
import secrets
import string
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from services.emulator.conversation import Item
from services.emulator.diary import Diary
from services.emulator.pacing import Event
from services.emulator.schema import Refused
from services.emulator.twists import Twists

_ALPHABET: Final = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Close:
    """Tells the driver to close the WebSocket."""

    code: int
    reason: str


class Reset:
    """Tells the driver to reset the TCP connection without a close frame."""


#: An event, a message that is no event (garbage), or the end of the connection.
Outgoing = Event | str | bytes | Close | Reset


def new_id(prefix: str) -> str:
    """Return a new id in the service's form: a prefix and 21 letters and digits."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(21))}"


class Outbox:
    """The messages to send, in order, and the timers of a session."""

    def __init__(self, diary: Diary, now: float, twists: Twists) -> None:
        #: The time of the call that is being handled, s. The session sets it.
        self.now = now
        self._diary = diary
        self._twists = twists
        self._messages: deque[Outgoing] = deque()
        #: The timers: when each is due, the order in which they were set, and what to do.
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    @property
    def due(self) -> float | None:
        """When there is something to send or to do, s; None if there is nothing."""
        if self._messages:
            return self.now
        return self._timers[0][0] if self._timers else None

    @property
    def empty(self) -> bool:
        """Whether there is no message to send now."""
        return not self._messages

    def emit(self, outgoing: Outgoing) -> None:
        """Send a message. An event gets its ``event_id`` here."""
        if not isinstance(outgoing, dict):
            self._messages.append(outgoing)
            return
        for event in self._twists.outgoing(outgoing):
            # Events of the service begin with these two fields.
            self._messages.append({"type": event["type"], "event_id": new_id("event"), **event})

    def announce(self, item: Item, previous: str | None) -> None:
        """Send the two events that announce a new item, which follows ``previous``."""
        for kind in ("conversation.item.added", "conversation.item.done"):
            self.emit({"type": kind, "previous_item_id": previous, "item": item.wire()})

    def refuse(self, refused: Refused, event_id: str | None) -> None:
        """Send the error event that answers the client event ``event_id``."""
        self._diary.refused(refused)
        self.emit(refused.event(event_id))

    def at(self, due: float, action: Callable[[], None]) -> None:
        """Call ``action`` at the time ``due``, s."""
        heapq.heappush(self._timers, (due, next(self._order), action))

    def run_timers(self) -> None:
        """Call the actions that are due."""
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()

    def take(self) -> list[Outgoing]:
        """Return the messages to send now, and forget them."""
        messages = list(self._messages)
        self._messages.clear()
        return messages
