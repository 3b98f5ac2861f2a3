"""Server events of other servers, whose values have other types than the API's. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


def mended(value: Any) -> Any:
    """Return decoded JSON with the types of the API, as far as it is clear what was meant.

    Null counts as missing. Milliseconds may have a fraction, and lie before the session's beginning
    (by the prefix padding). Indices may be floats, ids and codes numbers, a call's arguments an
    object, and an error a text.
    """
    if isinstance(value, list):
        return [mended(each) for each in value]
    if isinstance(value, dict):
        return {name: _field(name, each) for name, each in value.items() if each is not None}
    return value


def _field(name: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name.endswith(("_ms", "_index")):
        if isinstance(value, str):
            try:
                value, is_number = float(value), True
            except ValueError:
                return value
        # Beyond 2**53 a float is no exact number any more, and infinity has no integer.
        return max(0, round(value)) if is_number and abs(value) <= 2**53 else value
    if name in ("id", "code") or name.endswith("_id"):
        return str(value) if is_number else value
    if name == "arguments" and isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    if name == "error" and isinstance(value, str):
        return {"message": value}
    return mended(value)
