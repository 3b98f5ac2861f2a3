"""A connection that is to replace the one in use, once the server has begun a session on it."""

from __future__ import annotations

from collections.abc import Callable

from services.link import endings
from services.link.connection import Connection, Ended, Text
from shared.stage import Stage


class Candidate:
    """A connection until it is decided whether it replaces the one in use.

    ``decided`` is called once: with None if the server has begun a session, else with the ending.
    A server with one slot accepts the connection, and then closes it: the old session has the slot.
    """

    def __init__(
        self,
        stage: Stage,
        connection: Connection,
        patience_s: float,
        decided: Callable[[endings.Ending | None], None],
    ) -> None:
        self.connection = connection
        #: What the server has said so far.
        self.texts: list[Text] = []
        self._stage = stage
        self._decided: Callable[[endings.Ending | None], None] | None = decided
        stage.watch(connection.descriptor, self.read)
        stage.after(patience_s, lambda: self._decide(endings.NO_SESSION))

    def read(self) -> None:
        """Read what the server has said."""
        try:
            while self._decided is not None and (message := self.connection.receive()) is not None:
                if isinstance(message, Text):
                    self.texts.append(message)
                if self.connection.greeting.begun:
                    self._decide(None)
                elif self.connection.greeting.over:
                    self._decide(endings.NO_SESSION)
        except Ended as ended:
            self._decide(ended.ending)

    def close(self) -> None:
        """Close the connection, unless it was decided that it is used."""
        if self._decided is not None:
            self._decided = None
            self._stage.unwatch(self.connection.descriptor)
            self.connection.close()

    def _decide(self, ending: endings.Ending | None) -> None:
        decided = self._decided
        if decided is None:
            return
        if ending is None:
            self._decided = None
        else:
            self.close()
        decided(ending)
