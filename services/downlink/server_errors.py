"""Classify the server's errors, and choose a counter and a log line for each. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.downlink import objects
from shared.realtime.event_ids import CLEARS, RESTORES

#: The error of a cancel if no response is under way.
NOT_ACTIVE = "response_cancel_not_active"
#: Errors that are races of a healthy conversation: they lose nothing, and are only counted.
BENIGN_NAMES = frozenset(
    {
        NOT_ACTIVE,
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        # names of other servers
        "conversation_item_not_found",
        "item_already_truncated",
    }
)
#: The name of the error with which some servers answer a request that they do not know.
UNKNOWN_REQUEST = "unknown_or_invalid_event"
BENIGN_TEXTS = ("is already shorter than", "Only model output audio messages can be truncated")
#: Errors after which the server closes the connection. link logs what to do about them.
FATAL_NAMES = frozenset(
    {
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "beta_api_shape_disabled",
        "session_expired",
    }
)
#: How many errors have a counter of their own. A server can invent new names without end.
MAX_NAMES = 50


class Kind(enum.Enum):
    """The kinds of errors, by their consequence for the conversation."""

    BENIGN = "a race that loses nothing"
    FATAL = "the server closes the connection, and link logs why"
    REPORTED = "downlink logs it"


class ErrorReport(NamedTuple):
    """The counter and the log line of an error."""

    counter: str
    line: str  # for a person; "": nothing is logged


def kind(error: objects.ServerError) -> Kind:
    """Return the kind of an error."""
    if (error.event_id or "").startswith(RESTORES) and "already exists" in error.text:
        # uplink was restarted while it restored the conversation, and began again.
        return Kind.BENIGN
    if error.name == UNKNOWN_REQUEST and _answers_clear(error):
        # The button empties a buffer that is empty already.
        return Kind.BENIGN
    if error.name in BENIGN_NAMES or any(text in error.text for text in BENIGN_TEXTS):
        return Kind.BENIGN
    return Kind.FATAL if error.name in FATAL_NAMES else Kind.REPORTED


def _answers_clear(error: objects.ServerError) -> bool:
    return error.event_id == CLEARS or "input_audio_buffer.clear" in error.text


class ErrorReports:
    """The errors that one process counts and logs.

    At most MAX_NAMES names of logged errors get a counter of their own.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()  # names that have a counter of their own

    def report(self, error: objects.ServerError) -> ErrorReport:
        """Return the counter of an error, and the line about it for a person."""
        name = (error.name or "error")[:100]
        match kind(error):
            case Kind.BENIGN:
                return ErrorReport("benign_errors", "")
            case Kind.FATAL:
                return ErrorReport(f"error.{name}", "")
        where = f" ({error.param[:100]})" if error.param else ""
        return ErrorReport(
            f"error.{self._counted_name(name)}",
            f"the server says {name}{where}: {error.text[:500]}",
        )

    def transcription(self, error: objects.ServerError) -> ErrorReport:
        """Return the counter of a turn that the server could not transcribe, and the line."""
        name = (error.name or "error")[:100]
        return ErrorReport(
            "transcriptions_failed",
            f"the server could not transcribe what the person said: {name}: {error.text[:500]}",
        )

    def _counted_name(self, name: str) -> str:
        if len(self._names) < MAX_NAMES:
            self._names.add(name)
        return name if name in self._names else "other"
