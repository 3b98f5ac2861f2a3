"""The client events: their names, their fields, and how one is read from a message."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from services.emulator import session_fields
from services.emulator.schema import (
    Check,
    Refused,
    anything,
    array,
    choice,
    fields,
    flag,
    integer,
    mapping,
    missing,
    tagged,
    text,
    unsupported,
)

#: The names of the client events, in the order in which the service lists them in its answer to an
#: unknown event.
SUPPORTED: Final = (
    "session.update",
    "session.close",
    "input_audio_buffer.append",
    "session.input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
)
#: The longest audio of one append event, in characters of base64: the limit of the service's guide
#: is 15 MiB.
MAX_APPEND: Final = 15 * 1024 * 1024

_ID = text(512)
_STATUS = choice("completed", "incomplete", "in_progress")
_ITEM_FIELDS: dict[str, Check] = {
    "id": text(64),
    "type": anything,
    "object": choice("realtime.item"),
    "status": _STATUS,
}


def _no_assistant_audio(_: Any, path: str) -> None:
    raise Refused(
        "invalid_value",
        "Assistant messages with audio cannot be created by the client.",
        f"{path}.type",
    )


def _content(**variants: Check) -> Check:
    return array(tagged(variants, nulls=frozenset({"audio", "transcript"})))


_TEXT = fields({"type": anything, "text": text()}, required=["text"])
_CONTENT: dict[str, Check] = {
    "system": _content(input_text=_TEXT),
    "user": _content(
        input_text=_TEXT,
        input_audio=fields(
            {"type": anything, "audio": text(), "transcript": text()},
            required=["audio"],
        ),
        input_image=fields(
            {"type": anything, "image_url": text(), "detail": choice("auto", "low", "high")},
            required=["image_url"],
        ),
    ),
    # "text" is the type's name in the retired beta API. Some clients still send it.
    "assistant": _content(output_text=_TEXT, text=_TEXT, output_audio=_no_assistant_audio),
}


ITEM: Final[Check] = tagged(
    {
        "message": tagged(
            {
                role: fields(
                    {**_ITEM_FIELDS, "role": anything, "content": content},
                    required=["content"],
                )
                for role, content in _CONTENT.items()
            },
            tag="role",
        ),
        "function_call": fields(
            {**_ITEM_FIELDS, "name": text(), "call_id": text(), "arguments": text()},
            required=["name", "arguments"],
        ),
        "function_call_output": fields(
            {**_ITEM_FIELDS, "call_id": text(), "output": text()},
            required=["call_id", "output"],
        ),
        "mcp_approval_response": fields(
            {**_ITEM_FIELDS, "approval_request_id": text(), "approve": flag, "reason": text()},
            required=["approval_request_id", "approve"],
        ),
    }
)


def _input(value: Any, path: str) -> None:
    if isinstance(value, dict) and value.get("type") == "item_reference":
        fields({"type": anything, "id": _ID}, required=["id"])(value, path)
    else:
        ITEM(value, path)


RESPONSE: Final[Check] = fields(
    {
        "output_modalities": session_fields.MODALITIES,
        "audio": fields(
            {"output": fields({"voice": session_fields.VOICE, "format": session_fields.FORMAT})}
        ),
        "instructions": text(),
        "tools": session_fields.TOOLS,
        "tool_choice": session_fields.TOOL_CHOICE,
        "parallel_tool_calls": flag,
        "max_output_tokens": session_fields.MAX_OUTPUT_TOKENS,
        "metadata": mapping(text(512), most=16, longest_key=64),
        "conversation": choice("auto", "none"),
        "input": array(_input),
        "prompt": session_fields.PROMPT,
        "reasoning": session_fields.REASONING,
    }
)

_FIELDS: Final[dict[str, tuple[dict[str, Check], tuple[str, ...]]]] = {
    # ``settings.updated`` checks the session, because that check needs the session before.
    "session.update": ({"session": anything}, ("session",)),
    "session.close": ({}, ()),
    "input_audio_buffer.append": ({"audio": text(MAX_APPEND)}, ("audio",)),
    "session.input_audio_buffer.append": ({"audio": text(MAX_APPEND)}, ("audio",)),
    "input_audio_buffer.commit": ({}, ()),
    "input_audio_buffer.clear": ({}, ()),
    "conversation.item.create": (
        {"item": ITEM, "previous_item_id": _ID},
        ("item",),
    ),
    "conversation.item.truncate": (
        {"item_id": _ID, "content_index": integer(0), "audio_end_ms": integer(0)},
        ("item_id", "content_index", "audio_end_ms"),
    ),
    "conversation.item.delete": ({"item_id": _ID}, ("item_id",)),
    "conversation.item.retrieve": ({"item_id": _ID}, ("item_id",)),
    "response.create": ({"response": RESPONSE}, ()),
    "response.cancel": ({"response_id": _ID}, ()),
}
_CHECKS: Final = {
    name: fields({"type": anything, "event_id": _ID, **checks}, required)
    for name, (checks, required) in _FIELDS.items()
}


def decode(message: str | bytes) -> dict[str, Any]:
    """Return the JSON object in a message, which ``check`` then checks.

    Raises Refused for a binary message and for text that is not a JSON object, with error texts
    observed on the live service.
    """
    if isinstance(message, bytes):
        raise Refused(
            "invalid_event",
            "Expected a text WebSocket message; binary frames are not supported.",
        )
    try:
        event = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise Refused("invalid_json", "Invalid event: failed to parse JSON value. ")
    return event


def check(event: dict[str, Any]) -> None:
    """Check the fields of a client event. Raises Refused if one is wrong or missing."""
    kind = event.get("type")
    if kind is None:
        raise missing("type")
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise Refused("invalid_value", unsupported(str(kind), SUPPORTED), "type")
    _CHECKS[kind](event, "")
