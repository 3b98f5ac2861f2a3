"""The events that a client sends, as JSON text in the shapes of the GA Realtime API."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal

import msgspec

from shared import messages
from shared.realtime import session
from shared.realtime.event_ids import (
    ALL,
    CLEARS,
    NOTICES,
    OUT_OF_BAND,
    OUTPUTS,
    RESTORES,
    TOOLS,
    UPDATES,
)

#: The instructions to the model when it is asked again for an answer.
LOST_ANSWER: dict[Literal["answer", "continue"], str] = {
    "answer": "The connection was lost before you answered. Answer the person's last message now."
    " If you do not know its words, say that the connection was lost, and ask the person to repeat"
    " them.",
    "continue": "The connection was lost while you were speaking. The person has heard your last"
    " message as far as it goes. Go on exactly where it ends: do not repeat any of it, do not greet"
    " and do not mention the connection.",
}

_APPEND = b'{"type":"input_audio_buffer.append","audio":"%b"}'


def _text(kind: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": kind, **fields})


def append(pcm: bytes) -> bytes:
    """Return ``input_audio_buffer.append`` for s16le samples at the server's rate."""
    return _APPEND % binascii.b2a_base64(pcm, newline=False)


def session_updates(
    wanted: Mapping[str, Any], refused: Container[str] = (), *, apart: bool = False
) -> list[bytes]:
    """Return the ``session.update`` that asks for a session object without the refused fields.

    ``apart``: return one update for each setting instead. A server discards an update as a whole
    if it refuses one field of it.
    """
    asked = session.without(wanted, refused)
    if not apart:
        return [_text("session.update", event_id=f"{UPDATES}{ALL}", session=asked)]
    return [
        _text("session.update", event_id=f"{UPDATES}{path}", session=session.alone(path, value))
        for path, value in session.fields(asked)
        if path != "type"
    ]


def tools(entries: Sequence[Mapping[str, Any]], digest: str) -> bytes:
    """Return the ``session.update`` that offers these functions, and nothing else.

    A server refuses another field, such as the voice, once it has spoken.
    """
    asked = session.alone("tools", entries)
    return _text("session.update", event_id=f"{TOOLS}{digest}", session=asked)


def respond() -> bytes:
    """Return the ``response.create`` that asks for an answer."""
    return _text("response.create")


def commit() -> bytes:
    """Return ``input_audio_buffer.commit``: the server makes the appended audio a turn."""
    return _text("input_audio_buffer.commit")


def clear() -> bytes:
    """Return ``input_audio_buffer.clear``: the server drops the appended audio."""
    return _text("input_audio_buffer.clear", event_id=CLEARS)


def greet(instructions: str) -> bytes:
    """Return the ``response.create`` that makes the assistant speak first."""
    return _text("response.create", response={"instructions": instructions})


def respond_with(instructions: str, more: str) -> bytes:
    """Return the ``response.create`` that asks for an answer with more instructions.

    The instructions of a response replace the session's, so they repeat ``instructions``.
    """
    return _text("response.create", response={"instructions": f"{instructions}\n\n{more}".strip()})


def ask_again(instructions: str, what: Literal["answer", "continue"]) -> bytes:
    """Return the ``response.create`` for an answer that was lost with the connection.

    The instructions of a response replace the session's, so they repeat ``instructions``.
    """
    return respond_with(instructions, LOST_ANSWER[what])


def cancel(response_id: str) -> bytes:
    """Return ``response.cancel`` for one response."""
    return _text("response.cancel", response_id=response_id)


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> bytes:
    """Return ``conversation.item.truncate``: the item keeps its audio up to ``audio_end_ms``."""
    return _text(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


def create(turn: messages.HistoryTurn, previous: str = "") -> bytes:
    """Return ``conversation.item.create`` for a turn of an earlier session, under its new id.

    ``previous`` is the id of the item before the turn, or ``root`` for the beginning; "" puts the
    turn at the end. The assistant's turns are restored as text, because a client cannot create
    the assistant's audio.
    """
    item: dict[str, Any] = {"id": turn.new_id, "type": turn.kind}
    if turn.kind == "function_call":
        item |= {"call_id": turn.call_id, "name": turn.name, "arguments": turn.text}
    elif turn.kind == "function_call_output":
        item |= {"call_id": turn.call_id, "output": turn.text}
    else:
        kind = "output_text" if turn.role == "assistant" else "input_text"
        item |= {"role": turn.role, "content": [{"type": kind, "text": turn.text}]}
    event: dict[str, Any] = {"event_id": f"{RESTORES}{turn.new_id}"}
    if previous:
        event["previous_item_id"] = previous
    return _text("conversation.item.create", **event, item=item)


def message(item_id: str, role: str, text: str) -> bytes:
    """Return ``conversation.item.create`` for a text, at the end of the conversation."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    item = {"id": item_id, "type": "message", "role": role, "content": content}
    return _text("conversation.item.create", item=item)


def delete(item_id: str) -> bytes:
    """Return ``conversation.item.delete``: the server removes the item from the conversation."""
    return _text("conversation.item.delete", item_id=item_id)


def output_id(call_id: str) -> str:
    """Return the id of the item that answers a call: the same one in every process."""
    return OUTPUTS + hashlib.blake2b(call_id.encode(), digest_size=10).hexdigest()


def notice_id(key: str) -> str:
    """Return the id of the item for a notice of tools."""
    return NOTICES + hashlib.blake2b(key.encode(), digest_size=10).hexdigest()


def _item(item: Mapping[str, Any]) -> bytes:
    return _text("conversation.item.create", item=item)


def output(item_id: str, call_id: str, text: str) -> bytes:
    """Return ``conversation.item.create`` for the output of a function call."""
    item = {"id": item_id, "type": "function_call_output", "call_id": call_id, "output": text}
    return _item(item)


def picture(url: str, name: str) -> bytes:
    """Return ``conversation.item.create`` for a picture that a function returned, as a data URL."""
    said = {"type": "input_text", "text": f"[the picture that the function {name} returned]"}
    shown = {"type": "input_image", "image_url": url}
    return _item({"type": "message", "role": "user", "content": [said, shown]})


def notice(item_id: str, text: str) -> bytes:
    """Return ``conversation.item.create`` for a notice of tools."""
    content = [{"type": "input_text", "text": text}]
    return _item({"id": item_id, "type": "message", "role": "system", "content": content})


def approval(item_id: str, request_id: str, *, approve: bool) -> bytes:
    """Return ``conversation.item.create`` for the person's answer to an MCP approval request."""
    answer = {"approval_request_id": request_id, "approve": approve}
    return _item({"id": item_id, "type": "mcp_approval_response", **answer})


def filler(instructions: str) -> bytes:
    """Return the ``response.create`` for a line outside the conversation."""
    response = {
        "conversation": "none",
        "input": [],
        "instructions": instructions,
        "tool_choice": "none",
        "metadata": {OUT_OF_BAND: "filler"},
    }
    return _text("response.create", response=response)
