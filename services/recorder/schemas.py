"""The schemas of a recording's channels, so that Foxglove shows them without a plug-in. Pure.

Foxglove reads JSON schemas without references, and knows two types by their names: RawAudio and
Log. See https://docs.foxglove.dev/docs/sdk/schemas.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from shared import messages, recording
from shared.audio import pcm

_TIME = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
RAW_AUDIO = {
    "title": "foxglove.RawAudio",
    "type": "object",
    "properties": {
        "timestamp": _TIME,
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
        "sample_rate": {"type": "integer"},
        "number_of_channels": {"type": "integer"},
    },
}
LOG = {
    "title": "foxglove.Log",
    "type": "object",
    "properties": {
        "timestamp": _TIME,
        "level": {"type": "integer"},
        "message": {"type": "string"},
        "name": {"type": "string"},
        "file": {"type": "string"},
        "line": {"type": "integer"},
    },
}
#: Levels of foxglove.Log.
INFO, WARNING = 2, 3


def of(kind: type[messages.Message]) -> dict[str, Any]:
    """Return the JSON schema of a message in a recording, without references."""
    [schema], parts = msgspec.json.schema_components([recording.shape(kind)])
    # The type itself is a reference to a part.
    found: dict[str, Any] = _inlined(schema, parts)
    if "json" in found["properties"]:
        found["properties"]["json"] = {"type": "object", "properties": {}}
    return found


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _inlined(parts[reference.rpartition("/")[2]], parts)
    found = {name: _inlined(each, parts) for name, each in schema.items()}
    if prefix := found.pop("prefixItems", None):
        # An array of fixed length. Foxglove needs one type for all items: here they have one.
        found["items"] = prefix[0]
    return found


def time(ns: int) -> dict[str, int]:
    """Return a time since 1970 as Foxglove writes it."""
    return {"sec": ns // 1_000_000_000, "nsec": ns % 1_000_000_000}


def raw_audio(ns: int, sound: bytes) -> bytes:
    """Return 24 kHz mono sound as foxglove.RawAudio."""
    return msgspec.json.encode(
        {
            "timestamp": time(ns),
            "data": base64.b64encode(sound).decode(),
            "format": "pcm-s16",
            "sample_rate": pcm.RATE,
            "number_of_channels": 1,
        }
    )


def log(ns: int, level: int, name: str, text: str) -> bytes:
    """Return a line as foxglove.Log."""
    return msgspec.json.encode(
        {
            "timestamp": time(ns),
            "level": level,
            "message": text,
            "name": name,
            "file": "",
            "line": 0,
        }
    )
