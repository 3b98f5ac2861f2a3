"""What a recording must not contain: keys, and, if the person wants that, the sound. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from shared import messages
from shared.config import masked_text
from shared.recording import holds_text

MASK = "****"
#: The fields of a tool in ``session.update`` that hold a key for the tool's server.
_SECRET = ("authorization", "headers")
#: A part of every event with such a field.
_SECRET_BYTES = tuple(f'"{name}"'.encode() for name in _SECRET)
#: A part of every event with sound.
_SOUND_BYTES = b"audio"
#: What looks like a key of OpenAI's.
_KEY = re.compile(rb"\b(?:sk|ek)[-_][A-Za-z0-9_-]{8}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]")


def discreet(message: messages.Message, *, voices: bool) -> messages.Message:
    """Return a message without keys and, unless ``voices``, with silence in place of sound.

    Silence has the sound's length, so that all positions stay right, and takes no room.
    """
    payload, kind = message.payload, type(message)
    if not payload:
        return message
    if not holds_text(kind):
        return message if voices else msgspec.structs.replace(message, payload=bytes(len(payload)))
    changed = payload
    if any(name in payload for name in _SECRET_BYTES) or _KEY.search(payload):
        changed = _changed(changed, without_keys)
    if not voices and _SOUND_BYTES in payload:
        changed = _changed(changed, _without_sound)
    return message if changed is payload else msgspec.structs.replace(message, payload=changed)


def _changed(payload: bytes, change: Callable[[Any], Any]) -> bytes:
    try:
        return msgspec.json.encode(change(msgspec.json.decode(payload)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return b""  # Nobody can read it, and it may hold what must not be recorded.


def without_keys(value: Any) -> Any:
    """Return a JSON value without what looks like a key, or stands where a key belongs."""
    match value:
        case str():
            return masked_text(value)
        case list():
            return [without_keys(each) for each in value]
        case dict():
            return {
                name: _masked(each) if name in _SECRET else without_keys(each)
                for name, each in value.items()
            }
    return value


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return dict.fromkeys(value, MASK)
    return MASK if value else value


def _without_sound(event: Any) -> Any:
    is_delta = isinstance(event, dict) and str(event.get("type")).endswith("audio.delta")
    return _silent(event, ("audio", "delta") if is_delta else ("audio",))


def _silent(value: Any, names: tuple[str, ...]) -> Any:
    match value:
        case list():
            return [_silent(each, names) for each in value]
        case dict():
            return {
                name: _BASE64.sub("A", each)
                if name in names and isinstance(each, str)
                else _silent(each, names)
                for name, each in value.items()
            }
    return value
