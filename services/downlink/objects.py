"""The objects inside the server's events: items, responses, sessions and errors.

Their shapes are the GA Realtime API's. A field that downlink does not need is not read.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.realtime.event_ids import OUT_OF_BAND

Id = Annotated[str, Meta(max_length=512)]
Millis = Annotated[int, Meta(ge=0, le=2**53)]
Index = Annotated[int, Meta(ge=0, le=2**31)]


class Content(msgspec.Struct, frozen=True):
    """The words of one part of an item's content."""

    type: str = ""
    text: str | None = None
    transcript: str | None = None


class Item(msgspec.Struct, frozen=True):
    """The part of an item that downlink needs."""

    id: Id = ""
    type: str = ""
    role: str | None = None
    status: str | None = None
    content: list[Content] | None = None
    name: str | None = None
    call_id: Id | None = None
    arguments: str | None = None
    output: str | None = None
    # of an MCP server that the server itself is connected to
    server_label: str | None = None
    error: Any = None
    approval_request_id: Id | None = None
    approve: bool | None = None

    @property
    def text(self) -> str:
        """The item's words, as far as they are known; "" if none are."""
        parts = (part.text or part.transcript or "" for part in self.content or ())
        return " ".join(part for part in parts if part)


class ServerError(msgspec.Struct, frozen=True):
    """The server's description of an error."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    event_id: str | None = None

    @property
    def name(self) -> str:
        """The error's name: its code, or its type on servers that put the name there."""
        return self.code or self.type or ""

    @property
    def text(self) -> str:
        """The message, or "" if there is none."""
        return self.message or ""


class StatusDetails(msgspec.Struct, frozen=True):
    """Why a response ended as it did."""

    type: str | None = None
    reason: str | None = None
    error: ServerError | None = None


class Response(msgspec.Struct, frozen=True):
    """The part of a response object that downlink needs."""

    id: Id
    status: str | None = None
    conversation_id: str | msgspec.UnsetType | None = msgspec.UNSET
    status_details: StatusDetails | None = None
    metadata: Any = None  # what the response.create had, unchanged
    usage: Any = None  # what it has used: usage_counter.py reads it

    @property
    def asked_out_of_band(self) -> bool:
        """Whether our request marked the response as outside the conversation."""
        return isinstance(self.metadata, dict) and OUT_OF_BAND in self.metadata

    @property
    def without_conversation(self) -> bool:
        """Whether the server says that the response belongs to no conversation.

        Some servers say so of every response: see ``Responses.is_out_of_band``.
        """
        return self.conversation_id is None

    @property
    def names_conversation(self) -> bool:
        """Whether the server says which conversation the response belongs to."""
        return isinstance(self.conversation_id, str)


def mcp_trouble(item: Item) -> str:
    """Return a line about what went wrong at an MCP server of the server's; "" if nothing did."""
    if not item.type.startswith("mcp_") or not item.error:
        return ""
    error = item.error
    why = error.get("message") if isinstance(error, dict) else error
    what = f"its function {item.name}" if item.name else "its list of functions"
    # The server need not say why: there is no place for that in a list of functions.
    reason = f": {str(why)[:300]}" if why and why is not True else ""
    return f"MCP server {item.server_label!r}: {what} failed{reason}"
