"""Server events of other servers, whose values have other types than the API's. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

#: An escaped backslash, a pair of surrogates (the first group), or one surrogate alone.
_SURROGATES = re.compile(
    rb"\\\\|(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def whole_characters(text: bytes) -> bytes:
    """Return JSON without escapes of half a character.

    A server that cuts its words into deltas may cut an emoji, which is a pair of surrogates in
    UTF-16, in two. msgspec refuses a text with such a half.
    """
    return _SURROGATES.sub(_whole, text)


def _whole(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] or found[0] == rb"\\" else rb"\ufffd"


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
