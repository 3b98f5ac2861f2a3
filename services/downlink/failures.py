"""What a server's error means: the race of a healthy conversation, or something to tell. Pure."""

from __future__ import annotations

from typing import Literal

from services.downlink import events
from shared.realtime.event_ids import RESTORES

#: Errors that are races of a healthy conversation, not faults: counted, not shown.
BENIGN_CODES = frozenset(
    {
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
    }
)
BENIGN_TEXTS = ("is already shorter than", "Only model output audio messages can be truncated")
#: Errors that a close follows: link says what to do about them, once.
FATAL_CODES = frozenset(
    {
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "beta_api_shape_disabled",
        "session_expired",
    }
)
#: A server may make up ever new codes: so many are counted apart.
MAX_CODES = 50


def benign(error: events.Failure) -> bool:
    """Say whether an error is the outcome of a race that loses nothing."""
    restored = (error.event_id or "").startswith(RESTORES)
    if restored and "already exists" in error.text:
        # uplink was restarted while it put the conversation back, and began again
        return True
    return error.code in BENIGN_CODES or any(text in error.text for text in BENIGN_TEXTS)


def kind(error: events.Failure) -> Literal["benign", "fatal", "told"]:
    """Say whether an error is to be told to a person, and by whom."""
    if benign(error):
        return "benign"
    return "fatal" if error.code in FATAL_CODES else "told"


class Failures:
    """The errors of one process: under which name each is counted, and its line."""

    def __init__(self) -> None:
        self._codes: set[str] = set()

    def told(self, error: events.Failure) -> tuple[str, str]:
        """Give the name of its counter, and what a person is told of it ("": nothing)."""
        match kind(error):
            case "benign":
                return "benign_errors", ""
            case "fatal":
                return f"error.{error.code}", ""
        return self.name(error), self.line(error)

    def name(self, error: events.Failure) -> str:
        """Give the name of the counter."""
        code = (error.code or error.type or "error")[:100]
        if len(self._codes) < MAX_CODES:
            self._codes.add(code)
        return f"error.{code if code in self._codes else 'other'}"

    @staticmethod
    def line(error: events.Failure) -> str:
        """Give what a person is told."""
        code = (error.code or error.type or "error")[:100]
        where = f" ({error.param[:100]})" if error.param else ""
        return f"the server says {code}{where}: {error.text[:500]}"


def failed(response: events.Response) -> events.Failure | None:
    """Give why a response failed, if it did."""
    if response.status != "failed":
        return None
    details = response.status_details
    return (details and details.error) or events.Failure("the response failed")
