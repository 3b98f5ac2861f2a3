"""The requests that downlink's TurnDecision leads to, each made once. Pure."""

from __future__ import annotations

from collections import deque

from shared import messages

#: How many deleted items are remembered: four times as many as a TurnDecision can name.
REMEMBERED = 256


class DecisionRequests:
    """Compares the newest decision with the requests that uplink sent already."""

    def __init__(self) -> None:
        self._decision: messages.TurnDecision | None = None
        self._deleted: deque[str] = deque(maxlen=REMEMBERED)
        self._last_asked = 0  # the number of the last response that was asked for

    def update(self, decision: messages.TurnDecision) -> messages.TurnDecision | None:
        """Take a new decision, and return the one before it."""
        before, self._decision = self._decision, decision
        return before

    def to_delete(self) -> list[str]:
        """Return the items to delete, and count them as deleted."""
        unwanted = self._decision.unwanted if self._decision else []
        new = [item_id for item_id in unwanted if item_id not in self._deleted]
        self._deleted += new
        return new

    def wanted(self) -> messages.TurnDecision | None:
        """Return the decision if it wants a response that was not asked for."""
        decision = self._decision
        return decision if decision and decision.answer not in (0, self._last_asked) else None

    def asked(self, number: int) -> None:
        """Note that a response was asked for."""
        self._last_asked = number
