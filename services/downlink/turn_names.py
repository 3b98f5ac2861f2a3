"""Names for the person's turns where the server does not name them. Pure.

The API names a turn's item in ``speech_started``, ``speech_stopped`` and ``committed``. Some
servers leave the name out of one of these events, or out of all of them.
"""

from __future__ import annotations

#: Prefix of a name that the server does not know.
OURS = "turn_without_id_"


class TurnNames:
    """Says which turn an event is about."""

    def __init__(self) -> None:
        self._number = 0  # of the last name that was made here
        self._open = ""  # the turn that is spoken, or that waits for its commit; "": none

    def begin(self, item_id: str) -> str:
        """Return the name of a turn that begins. ``item_id``: the server's name, or ""."""
        self._open = item_id or self._new()
        return self._open

    def go_on(self, item_id: str) -> str:
        """Return the name of a turn that may have begun before."""
        return item_id or self._open or self.begin("")

    def end(self, item_id: str) -> str:
        """Return the name of a turn that is committed."""
        name, self._open = self.go_on(item_id), ""
        return name

    def _new(self) -> str:
        self._number += 1
        return f"{OURS}{self._number}"
