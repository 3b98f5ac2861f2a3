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
        found["properties"]["json"] = _ANYTHING
    return found


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _inlined(parts[reference.rpartition("/")[2]], parts)
    return _plain({name: _inlined(each, parts) for name, each in schema.items()})


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in the part of JSON Schema that every viewer reads.

    Each value has one type, an object names its properties, and no list holds lists.
    """
    if "enum" in schema and "type" not in schema:
        kinds = {bool: "boolean", int: "integer", str: "string"}
        schema["type"] = kinds[type(schema["enum"][0])]
    if schema.get("type") == "object":
        schema.setdefault("properties", {})
    if schema.get("type") == "array":
        items = schema.pop("prefixItems", [schema.get("items") or {}])[0] or {}
        nested = isinstance(items, dict) and items.get("type") == "array"
        schema["items"] = _ANYTHING if nested or "type" not in items else items
    return schema


#: Stands for values that such a schema cannot describe. The values are there all the same.
_ANYTHING: dict[str, Any] = {"type": "object", "properties": {}}


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
