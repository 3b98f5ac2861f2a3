"""Classify the server's errors, and choose a counter and a log line for each. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.downlink import objects
from shared.realtime.event_ids import RESTORES

#: Errors that are races of a healthy conversation: they lose nothing, and are only counted.
BENIGN_CODES = frozenset(
    {
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
    }
)
BENIGN_TEXTS = ("is already shorter than", "Only model output audio messages can be truncated")
#: Errors after which the server closes the connection. link logs what to do about them.
FATAL_CODES = frozenset(
    {
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "beta_api_shape_disabled",
        "session_expired",
    }
)
#: How many codes have a counter of their own. A server can invent new codes without end.
MAX_CODES = 50


class Kind(enum.Enum):
    """The kinds of errors, by their consequence for the conversation."""

    BENIGN = "a race that loses nothing"
    FATAL = "the server closes the connection, and link logs why"
    REPORTED = "downlink logs it"


class Report(NamedTuple):
    """The counter and the log line of an error."""

    counter: str
    line: str  # for a person; "": nothing is logged


def kind(error: objects.Failure) -> Kind:
    """Return the kind of an error."""
    if (error.event_id or "").startswith(RESTORES) and "already exists" in error.text:
        # uplink was restarted while it restored the conversation, and began again.
        return Kind.BENIGN
    if error.code in BENIGN_CODES or any(text in error.text for text in BENIGN_TEXTS):
        return Kind.BENIGN
    return Kind.FATAL if error.code in FATAL_CODES else Kind.REPORTED


class Failures:
    """The errors that one process counts and logs.

    At most MAX_CODES codes of logged errors get a counter of their own.
    """

    def __init__(self) -> None:
        self._codes: set[str] = set()  # codes that have a counter of their own

    def report(self, error: objects.Failure) -> Report:
        """Return the counter of an error, and the line about it for a person."""
        code = (error.code or error.type or "error")[:100]
        match kind(error):
            case Kind.BENIGN:
                return Report("benign_errors", "")
            case Kind.FATAL:
                return Report(f"error.{code}", "")
        if len(self._codes) < MAX_CODES:
            self._codes.add(code)
        counter = f"error.{code if code in self._codes else 'other'}"
        where = f" ({error.param[:100]})" if error.param else ""
        return Report(counter, f"the server says {code}{where}: {error.text[:500]}")


def failure(response: objects.Response) -> objects.Failure | None:
    """Return why a response failed, or None if it did not fail."""
    if response.status != "failed":
        return None
    details = response.status_details
    return (details and details.error) or objects.Failure("the response failed")
