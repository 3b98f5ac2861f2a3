"""The ``session.update`` events, which tell the server a session's settings and functions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.uplink import mcp_servers, requests
from services.uplink.offered import OfferedTools
from shared import messages
from shared.realtime import session
from shared.settings import Session


class Updates:
    """Decides which updates to send.

    ``warn`` gets a line about each MCP server that is left out.
    """

    def __init__(self, settings: Session, warn: Callable[[str, str], None]) -> None:
        self._wanted = session.wanted(settings)
        self._tools = OfferedTools(mcp_servers.entries(settings.mcp, warn))
        #: Downlink's requests that concern the session, as they were last made.
        self.request = messages.SessionRequest(session=0, input_rate=settings.input_rate)
        # The refused settings that the last update left out, and whether it sent each apart.
        self._last_update: tuple[list[str], bool] | None = None
        self._farewell_session = 0  # the session that was asked for the last line

    def offer(self, tools: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Take the functions that the model may call. Return the updates for the open session."""
        return self._tools.offer(tools)

    def troubles(self) -> dict[str, str]:
        """Return why the server refuses functions, by their names; "" stands for all of them."""
        return self._tools.troubles()

    def all(self) -> list[bytes]:
        """Return the updates for a new session, without anything that the server refuses."""
        # The functions come first: the settings can name one of them.
        return self._tools.begin_session() + self._settings()

    def _settings(self) -> list[bytes]:
        self._last_update = (self.request.refused, self.request.apart)
        return requests.session_updates(
            self._wanted, self.request.refused, apart=self.request.apart
        )

    def again(self) -> list[bytes]:
        """Return the updates that follow from downlink's last request, for an open session."""
        changed = self._last_update is not None and self._last_update != (
            self.request.refused,
            self.request.apart,
        )
        functions = self._tools.refuse(self.request.refused_tools)
        return functions + (self._settings() if changed else [])

    def farewell(self) -> list[bytes]:
        """Return the request for the assistant's last line, if downlink wants it: once."""
        request = self.request
        if not request.farewell or self._farewell_session == request.session:
            return []
        self._farewell_session = request.session
        return [requests.respond_with(self._wanted["instructions"], request.farewell)]

    def ask_again(self) -> bytes:
        """Return the request for the answer that the last session did not give."""
        return requests.ask_again(
            self._wanted["instructions"], self.request.lost_answer or "answer"
        )

    def reload(self, settings: Session) -> list[bytes]:
        """Ask for other settings from now on. Return the updates for the open session.

        Each field has an update of its own: the server discards an update as a whole, and refuses
        another voice once it has spoken.
        """
        before, self._wanted = self._wanted, session.wanted(settings)
        return [
            update
            for path, value in session.changes(before, self._wanted)
            for update in requests.session_updates(session.alone(path, value), apart=True)
        ]
