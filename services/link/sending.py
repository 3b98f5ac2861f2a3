"""The client events on their way to the connection in use, as fast as its socket takes them."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.link import endings
from services.link.connection import Connection, Ended
from services.link.outbox import Outbox
from shared import messages
from shared.stage import Stage


class Sending:
    """Sends events in the order in which they came. No call blocks.

    ``ready`` is called when the connection's socket can be read, or takes more. ``first`` is called
    when the first event of a session was sent, and ``lost`` when the connection has ended.
    """

    def __init__(
        self,
        stage: Stage,
        ready: Callable[[], None],
        first: Callable[[], None],
        lost: Callable[[endings.Ending], None],
    ) -> None:
        #: The number of events that were sent in this session.
        self.sent = 0
        self._stage = stage
        self._ready, self._first, self._lost = ready, first, lost
        self._outbox = Outbox()
        self._connection: Connection | None = None
        self._watches_room = False  # whether the loop waits for the socket to take more

    @property
    def expired(self) -> int:
        """The number of events that were dropped because they were too old."""
        return self._outbox.expired

    def use(self, connection: Connection) -> None:
        """Send to a connection from now on."""
        self._drop()
        self._connection, self.sent, self._watches_room = connection, 0, False
        self._stage.watch(connection.descriptor, self._ready)

    def stop(self) -> None:
        """Send no more to the connection, which is about to be closed."""
        self._drop()
        if self._connection is not None:
            self._stage.unwatch(self._connection.descriptor)
            self._connection = None

    def put(self, event: messages.ClientEvent) -> None:
        """Send an event, or let it wait until the socket takes it."""
        self._outbox.put(event)
        self.pump()

    def pump(self) -> None:
        """Send the events that wait, as long as the socket takes them at once."""
        try:
            while self._connection is not None:
                self._connection.send_waiting()
                event = self._outbox.first(time.monotonic_ns())
                blocked = self._connection.waits or (
                    event is not None and not self._connection.takes_more
                )
                self._watch_room(blocked)
                if event is None or blocked:
                    break
                self._outbox.remove_first()
                self._connection.send(event.payload)
                self.sent += 1
                if self.sent == 1:
                    self._first()
        except Ended as ended:
            self._lost(ended.ending)
        new = self._outbox.expired - self._stage.counters["events_expired"]
        if new:
            self._stage.count("events_expired", new, "the network is slow: old speech was dropped")

    def _watch_room(self, blocked: bool) -> None:
        """Have the loop call ``ready`` when the socket takes more, if it is blocked now."""
        if self._connection is not None and blocked != self._watches_room:
            self._watches_room = blocked
            self._stage.watch(self._connection.descriptor, self._ready, write=blocked)

    def _drop(self) -> None:
        """Drop the events that the last connection did not take: they would arrive late."""
        unsent = self._outbox.clear()
        if unsent:
            self._stage.count("events_unsent", unsent)
