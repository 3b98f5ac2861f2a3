"""A connection that was replaced: it stays open for the events on their way to its session."""

from __future__ import annotations

from contextlib import suppress

from services.link.connection import Connection, Ended
from shared.stage import Stage

#: How long a replaced connection stays open, s: an event takes a few ms from uplink to link.
RETIRE_S = 1.0
#: How often the bytes that wait are sent, s.
SEND_WAITING_S = 0.02


class Retired:
    """A connection that was replaced. It closes itself after RETIRE_S, or when ``close`` is called.

    An event may get lost here without harm: the new session was given the whole conversation.
    """

    def __init__(self, stage: Stage, connection: Connection) -> None:
        self.session = connection.session
        self._stage = stage
        self._connection: Connection | None = connection
        stage.unwatch(connection.descriptor)
        stage.after(RETIRE_S, self.close)

    def send(self, text: bytes) -> bool:
        """Send an event to the session; return False if the connection was closed before."""
        if self._connection is None:
            return False
        with suppress(Ended):
            self._connection.send(text)
            self._send_waiting()
        return True

    def _send_waiting(self) -> None:
        if self._connection is not None and self._connection.waits:
            with suppress(Ended):
                self._connection.send_waiting()
                self._stage.after(SEND_WAITING_S, self._send_waiting)

    def close(self) -> None:
        """Close the connection, once."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
