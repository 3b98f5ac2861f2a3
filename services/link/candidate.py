"""A connection that was just opened, until the server has begun a session on it."""

from __future__ import annotations

from collections.abc import Callable

from services.link import endings
from services.link.connection import Connection, Ended, Text
from shared.stage import Stage

#: How long a server may take to say that a session begins, s, before it counts as a server that
#: never says so: OpenAI's says it at once.
BEGIN_S = 1.0


class Candidate:
    """A connection until it is decided whether it is used.

    ``decided`` is called once: with None if the connection is used, else with the ending. A server
    that refuses a key, or has no free slot, accepts the connection, and then closes it.
    """

    def __init__(
        self,
        stage: Stage,
        connection: Connection,
        patience_s: float,
        decided: Callable[[endings.Ending | None], None],
    ) -> None:
        """Use the connection only if the server begins a session on it within ``patience_s``.

        ``patience_s`` of 0: after BEGIN_S, use the connection without a session too.
        """
        self.connection = connection
        #: The server's messages so far.
        self.texts: list[Text] = []
        self._stage = stage
        self._decided: Callable[[endings.Ending | None], None] | None = decided
        self._ending_without_session = endings.NO_SESSION if patience_s else None
        stage.watch(connection.descriptor, self.read)
        stage.after(patience_s or BEGIN_S, lambda: self._decide(self._ending_without_session))

    def read(self) -> None:
        """Read the server's messages."""
        try:
            while self._decided is not None and (message := self.connection.receive()) is not None:
                if isinstance(message, Text):
                    self.texts.append(message)
                if self.connection.first_messages.session_begun:
                    self._decide(None)
                elif self.connection.first_messages.over:
                    self._decide(self._ending_without_session)
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
