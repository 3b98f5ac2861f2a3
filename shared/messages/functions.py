"""Messages about the functions that the model may call."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from shared.messages.base import MAX_ARGUMENTS, MAX_OFFER, MAX_OUTPUT, Count, Line, Message, Name


class ToolOffer(Message, frozen=True, kw_only=True):
    """The functions that the model may call, as a JSON list in the payload.

    Each entry of the list is one of ``session.tools``: type, name, description, parameters.
    """

    payload_limit: ClassVar[int] = MAX_OFFER
    names: Annotated[list[Name], Meta(max_length=256)] = []
    """The names of the functions."""


class ToolCall(Message, frozen=True, kw_only=True):
    """A function call of the model, with its arguments as JSON text in the payload.

    With ``server_ran`` the payload is the function's output as text, as far as downlink knows it.
    """

    payload_limit: ClassVar[int] = MAX_ARGUMENTS
    session: Count
    """The session that the call came in."""
    response_id: Name
    """The server's id of the response that has the call."""
    call_id: Name
    """The server's id of the call. Tools runs each call at most once."""
    name: Name
    """The name of the function."""
    action: Literal["run", "cancel", "ask", "server_runs", "server_ran"] = "run"
    """``run``: run the function; ``cancel``: end the call, because the person interrupted (if
    ``tools.on_interrupt`` says so) or because the call's session has ended. The other actions are
    about a function that the model's server runs itself, on an MCP server to which it is connected.
    ``ask``: the server asks for a person's approval, and ``call_id`` is the id of that request;
    ``server_runs``: the server runs the function now; ``server_ran``: the function has ended."""
    server: Name = ""
    """The label of the MCP server on which the model's server runs the function; empty for a
    function of tools."""
    ok: bool = True
    """With ``server_ran``: whether the function returned a value."""
    spoke_ns: Count = 0
    """When the person began the last turn, spoken or written, that the call's response answers, ns;
    0: there was none."""


class ToolOutput(msgspec.Struct, frozen=True):
    """The payload of a ToolResult: what a function returned."""

    text: str = ""
    """The output as text, or the reason why there is none."""
    images: Annotated[list[str], Meta(max_length=8)] = []
    """Pictures, as data URLs (``data:image/png;base64,…``)."""


class ToolResult(Message, frozen=True, kw_only=True):
    """The output of a function, as a ToolOutput in JSON in the payload."""

    payload_limit: ClassVar[int] = MAX_OUTPUT
    what: Literal["output", "model_only", "outcome", "notice", "approval"] = "output"
    """``output``: the output of the call ``call_id``; ``model_only``: an output that only tells the
    model what to do, because the call waits for an approval or passed an answer on; ``outcome``:
    the output of a call for programs that show the conversation: the model gets this output in
    another way, because the server has run the call itself, or because a person approved the call
    with a button; ``notice``: words for the model that are no output, such as those of a timer
    that is due; ``approval``: the person's answer to the call ``call_id``."""
    server: Name = ""
    """With ``approval``: the label of the MCP server that the model's server will call. Uplink
    sends the answer to the model's server. Empty: the function is one of ours, and the answer is
    for programs that show the conversation."""
    call_id: Name = ""
    """The id of the call, or of the request for an approval; empty in a notice."""
    name: Name = ""
    """The name of the function."""
    summary: Line = ""
    """The function's name and its arguments, for a person. Empty in a notice."""
    ok: bool = True
    """Whether the function returned a value. False: it failed, ran for too long or was cancelled,
    or the person did not approve it."""
    took_ms: Count = 0
    """How long the function ran, ms."""


class ToolRun(msgspec.Struct, frozen=True):
    """One call that has no output yet."""

    call_id: Name
    """The server's id of the call, or of its request for an approval."""
    name: Name
    """The name of the function."""
    state: Literal["queued", "running", "asking"]
    """``queued``: the call waits, because as many calls run as may run at once; ``asking``: the
    call waits for a person's approval."""
    number: Name = ""
    """``asking``: the number by which a person approves or denies the call."""
    summary: Line = ""
    """The function's name and its arguments, for a person."""


class ToolState(Message, frozen=True, kw_only=True):
    """The calls that tools has received and whose results it has not published."""

    calls: Annotated[list[ToolRun], Meta(max_length=64)] = []
    """The calls, the oldest first."""
