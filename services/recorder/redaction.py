"""Keeps keys out of a recording and, if the person wants that, the sound. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shared import messages
from shared.recording import holds_text
from shared.redaction import changed, text_without_keys

#: A part of every event with sound.
_SOUND_BYTES = b"audio"
_BASE64 = re.compile(r"[A-Za-z0-9+/]")


def redacted(message: messages.Message, *, voices: bool) -> messages.Message:
    """Return a message without keys and, unless ``voices``, with silence in place of sound.

    Silence has the sound's length, so that all positions stay right, and takes no room.
    """
    payload, kind = message.payload, type(message)
    if not payload:
        return message
    if not holds_text(kind):
        return message if voices else msgspec.structs.replace(message, payload=bytes(len(payload)))
    text = text_without_keys(payload)
    if not voices and _SOUND_BYTES in text:
        text = changed(text, _without_sound)
    return message if text is payload else msgspec.structs.replace(message, payload=text)


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
