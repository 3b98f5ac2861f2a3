"""The ``session.update`` events: what the server is told that the session is to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.uplink import requests
from shared import messages
from shared.realtime import session


class Updates:
    """Says which updates to send.

    ``wanted``: the session object that the settings ask for. ``request``: downlink's requests that
    concern the session, as they were last made.
    """

    def __init__(self, wanted: Mapping[str, Any], request: messages.SessionRequest) -> None:
        self._wanted = dict(wanted)
        self.request = request
        self._asked: tuple[list[str], bool] | None = None  # the last update: left out, and apart

    def offer(self, tools: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Take the functions that the model may call. Return the updates for the open session."""
        if tools == self._wanted.get("tools", []):
            return []
        self._wanted["tools"] = list(tools)
        if "tools" in self.request.refused:
            return []
        # Only this field: a server refuses another one, such as the voice, once it has spoken.
        return requests.session_updates(session.alone("tools", list(tools)))

    def all(self) -> list[bytes]:
        """Return the updates that ask for everything, without what the server refuses."""
        self._asked = (self.request.refused, self.request.apart)
        return requests.session_updates(
            self._wanted, self.request.refused, apart=self.request.apart
        )

    def again(self) -> list[bytes]:
        """Return the updates that downlink's last request leads to, in a session that has some."""
        changed = self._asked is not None and self._asked != (
            self.request.refused,
            self.request.apart,
        )
        return self.all() if changed else []
