"""Messages about the connection to the server and its sessions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from shared.messages.base import MAX_TEXT, Count, Line, Message, Name

#: Why a connection ended, or was not made.
Cause = Literal[
    "",  # there was no connection before
    "renewed",  # link replaced the session before its time was over
    "expired",  # the server's time for a session was over
    "closed",  # the server closed the connection
    "reset",  # the connection broke
    "silent",  # the server did not answer link's pings
    "stalled",  # the server took no more data
    "unresolved",  # the server's name was not found
    "unreachable",  # nobody answered at the server's address, or not in time
    "busy",  # no session now: no free slot or quota, HTTP 5xx, 402, 408, 409, 423, 425, 429
    "garbled",  # the answer was in another protocol
    "hostile",  # the server sent more than a conversation can contain
    "refused",  # the server, or something in its place (a proxy, a portal), refuses link
    "idle",  # the conversation sleeps: nobody spoke for limits.idle_minutes
    "limit",  # the conversation sleeps: limits.max_minutes or limits.max_cost was reached
    "asked",  # the conversation sleeps at a person's command
]


#: How many refused updates with functions are remembered: as many as a session can have functions.
MAX_REFUSED_TOOLS = 128


class ClientEvent(Message, frozen=True, kw_only=True):
    """One event for the server, as JSON text in the payload."""

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count
    """The session that the event is meant for (``LinkState.session``). In any other session link
    drops the event."""
    expires_ns: Count = 0
    """Link drops and counts the event if it is not sent by this time, ns; 0: never."""


class ServerEvent(Message, frozen=True, kw_only=True):
    """One event from the server: its JSON text in the payload.

    The text is unchanged, except that the API key is replaced by ``****``.
    """

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count
    """The session that the event came in."""
    received_ns: Count
    """When link read the event from the WebSocket, ns."""


class LinkState(Message, frozen=True, kw_only=True):
    """Whether link has a session with the server: one WebSocket connection."""

    state: Literal["connecting", "open", "waiting", "refused", "asleep"]
    """``waiting``: link waits until the next try; ``refused``: the server has never accepted this
    key, and link has stopped trying; ``asleep``: the conversation sleeps, so there is no session
    (see Sleep)."""
    session: Count = 0
    """The open session, or the last one if none is open: the time at which it was opened, µs since
    1970. Each new session has a larger number. 0: there was no session."""
    opened_ns: Count = 0
    """When the session was opened, ns."""
    cause: Cause = ""
    """Why the session before this one ended, or why there is no session."""
    sent: Count = 0
    """The number of client events that were sent in this session."""
    expired: Count = 0
    """The number of client events that were dropped because they were too old, since link
    started."""
    retry_ms: Count = 0
    """While waiting: the time until the next try, ms."""
    reason: Line = ""
    """The cause in words, with what to do, for a person. Empty while a session is open."""
    round_trip_us: Count = 0
    """The time from the session's last ping to the server's answer, µs. 0: no ping was answered, or
    no session is open."""


class Renew(Message, frozen=True, kw_only=True):
    """A request to replace a session, because its time will soon be over."""

    session: Count
    """The session to replace. In any other session link ignores the request."""
    forced: bool
    """Whether there was no quiet moment in time: somebody may be speaking."""


class RefusedTools(msgspec.Struct, frozen=True):
    """A ``session.update`` with functions that the server refused."""

    update: Name
    """The update: its event id without the prefix."""
    index: Annotated[int, Meta(ge=-1, le=256)] = -1
    """The position of the refused function in the update; -1: the server did not name a
    function."""
    reason: Line = ""
    """The server's words."""


class SessionRequest(Message, frozen=True, kw_only=True):
    """Downlink's requests to uplink that concern a session as a whole."""

    session: Count
    """The session that the requests concern."""
    refused: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=64)] = []
    """The paths of the fields of ``session.update`` that the server refuses. Uplink leaves these
    fields out. When the list grows, uplink sends the update again."""
    apart: bool = False
    """Whether uplink has to send an update for each field, because the server has refused the whole
    update and did not name a field."""
    refused_tools: Annotated[list[RefusedTools], Meta(max_length=MAX_REFUSED_TOOLS)] = []
    """The updates with functions that the server refuses. Uplink leaves out these functions."""
    input_rate: Count = 24_000
    """The rate at which the server takes the person's voice, Hz."""
    lost_answer: Literal["", "answer", "continue"] = ""
    """``answer``: the connection was lost before the answer to the last turn began; ``continue``:
    the loss of the connection cut a reply off. Uplink then asks for a response, once in the
    session. Empty: uplink does not ask."""
    farewell: Line = ""
    """The instructions for the assistant's last line before the conversation sleeps or ends. Uplink
    asks for that line once in the session. Empty: uplink does not ask."""


class Sleep(Message, frozen=True, kw_only=True):
    """Whether the conversation sleeps.

    While it sleeps, link has no session and uplink sends nothing, so that nothing is billed. The
    history is kept, and the session after the sleep gets it.
    """

    asleep: bool
    """Whether the conversation sleeps now."""
    cause: Literal["", "idle", "limit", "asked"] = ""
    """Why the conversation sleeps. ``idle``: nobody spoke for ``limits.idle_minutes``; ``limit``:
    another limit was reached; ``asked``: a person's command; empty: the conversation does not
    sleep."""
    reason: Line = ""
    """The cause in words, with what wakes the conversation, for a person."""
    since_ns: Count = 0
    """After the sleep: the next session hears the person from this time on, ns. 0: from the
    session's start on."""
