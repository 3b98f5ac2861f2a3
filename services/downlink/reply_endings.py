"""Log lines for responses that neither ran to their end nor were interrupted. Pure."""

from __future__ import annotations

from typing import NamedTuple

from services.downlink import objects

#: Reasons of a cancelled or incomplete response that are an ordinary interruption: the server heard
#: the person, or uplink cancelled the response.
INTERRUPTED = frozenset({"turn_detected", "client_cancelled", "interruption"})
#: Why a response can be incomplete, for a person.
INCOMPLETE = {
    "content_filter": "the server's content filter cut a reply off",
    "max_output_tokens": "a reply was cut off at the server's limit for its length"
    " (max_output_tokens)",
}


class Ending(NamedTuple):
    """The counter and the log line of an ending."""

    counter: str
    line: str


def report(response: objects.Response, *, interrupted: bool) -> Ending | None:
    """Return the report of a response that ended, or None if nobody has to know.

    ``interrupted``: a flush interrupted the response. A response that failed is reported as an
    error: see ``error``.
    """
    details = response.status_details
    reason = ((details.reason if details else None) or "")[:100]
    match response.status:
        case None | "completed" | "failed":
            return None
        case "cancelled" | "incomplete" if reason in INTERRUPTED or (interrupted and not reason):
            return None
        case "cancelled":
            return Ending(
                "replies_cancelled_by_server",
                f"the server cancelled a reply: {reason or 'it does not say why'}",
            )
        case "incomplete":
            other = f"the server left a reply incomplete: {reason or 'it does not say why'}"
            return Ending("replies_incomplete", INCOMPLETE.get(reason, other))
        case status:
            return Ending("replies_ended_oddly", f"a reply ended as {status[:100]!r}")


def error(response: objects.Response) -> objects.ServerError | None:
    """Return the error of a response that failed, or None if it did not fail."""
    if response.status != "failed":
        return None
    details = response.status_details
    return (details and details.error) or objects.ServerError("the response failed")
