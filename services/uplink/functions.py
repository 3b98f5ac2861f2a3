"""The functions that the model may call: what the server is told of them, and what they returned.

``Updates`` decides how the server is told. This module reads what comes over the bus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from services.uplink.updates import Updates
from shared import codec, messages


class Owner(Protocol):
    """The part of a stage that the functions use."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add to a counter of the health, and log a warning."""


class Functions:
    """Offers the functions to the server.

    ``send`` sends a request to the server. ``open_session`` returns the session that gets it, 0 if
    none is open.
    """

    def __init__(
        self,
        stage: Owner,
        updates: Updates,
        send: Callable[[bytes], None],
        open_session: Callable[[], int],
    ) -> None:
        self._stage = stage
        self._updates = updates
        self._send = send
        self._open_session = open_session

    def offer(self, offer: messages.ToolOffer) -> None:
        """Take the functions that the model may call."""
        try:
            updates = self._updates.offer(codec.read_offer(offer.payload))
        except codec.BadMessage as error:
            self._stage.count("bad_offers", warning=f"the functions from tools: {error}")
            return
        if self._open_session():
            for update in updates:
                self._send(update)
