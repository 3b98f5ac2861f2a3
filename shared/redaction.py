"""Texts, settings and events without keys, for a person's eyes and for files. Pure.

The bus itself carries a key where the server needs it: in the tools of ``session.update``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

MASK = "****"
#: How many characters of an error are shown, at most: the first ones name what was refused, and the
#: last ones say why. Between them there may be a value of a million characters.
HEAD, TAIL = 300, 300
#: A key is recognized by this many characters beyond those that are shown.
MARGIN = 200
#: A name and a password in a quoted address. In a refused one, the password may hold any character.
_LOGIN = re.compile(r"((?<![^\s\[({=])['\"]|://)[^'\"/@\[\]\n]*:(?!//)[^'\"\n]*@")
#: The same in an advice.
EXAMPLE = "user:password@"
#: A long run of letters and digits in a refused value: a key of another service, pasted there.
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}")
#: The fields of a tool in ``session.update`` that hold a key for the tool's server.
_SECRET = ("authorization", "headers")
#: A part of every event with such a field, or with an address that may hold a key.
_SUSPECT = tuple(f'"{name}"'.encode() for name in (*_SECRET, "server_url"))
#: A text that looks like a key of OpenAI's.
_KEY = re.compile(rb"\b(?:sk|ek)[-_][A-Za-z0-9_-]{8}")
#: A part of every such key, once each "_" is a "-". Searching for it takes a small part of the
#: expression's time, and base64 does not hold it, so an event with sound is not searched twice.
_KEY_PART = b"k-"


def masked_text(text: str) -> str:
    """Return a text with asterisks in place of keys and passwords.

    Covers an API key, a key in a URL's query (Azure's ``?api-key=``) and ``user:password@``.
    """
    secret = r"(?i)([?&][\w.-]*(?:key|token|secret|password|signature|sig)=)[^&#\s'\"]*"
    text = re.sub(secret, r"\1****", text)
    text = re.sub(r"//([^/@\s]*|[^\s/@:]*:[^\s@'\"]*)@", "//****@", text)
    # The address of a proxy may have no scheme.
    text = re.sub(r"(?<![\w/])[^\s/@:'\"=]+:(?!/)[^\s@'\"]+@", "****@", text)
    return re.sub(r"\b(sk|ek)[-_][A-Za-z0-9_-]{8,}", r"\1-****", text)


def shown(error: object) -> str:
    """Return an error's text without what looks like a key, and at most HEAD + TAIL characters.

    Every error that quotes what a person wrote goes through this function: people paste keys and
    whole files into the wrong place.
    """
    text = str(error)
    if len(text) <= HEAD + TAIL:
        return _without_keys(text)
    head = _without_keys(text[: HEAD + MARGIN])
    tail = _without_keys(text[-TAIL - MARGIN :])
    return f"{head[:HEAD]} … ({len(text)} characters) … {tail[-TAIL:]}"


def _without_keys(text: str) -> str:
    text = text.replace(EXAMPLE, "\0")  # the advice how to write a proxy's address is no secret
    text = _LOGIN.sub(rf"\1{MASK}@", text)
    return _RANDOM.sub(MASK, masked_text(text)).replace("\0", EXAMPLE)


class Refusal(Exception):
    """An error that may quote what a person wrote. Its text is as ``shown`` returns it."""

    def __init__(self, text: object) -> None:
        super().__init__(shown(text))


def masked(value: Any) -> str:
    """Return a value as TOML, with asterisks in place of keys and passwords."""
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        pairs = (f"{masked(name)} = {masked(inner)}" for name, inner in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, str):
        value = masked_text(value)
    return msgspec.json.encode(value).decode()


def text_without_keys(payload: bytes) -> bytes:
    """Return a JSON text without keys. A text that is not JSON becomes empty."""
    may_hold_key = _KEY_PART in payload.replace(b"_", b"-")
    if any(name in payload for name in _SUSPECT) or (may_hold_key and _KEY.search(payload)):
        return changed(payload, without_keys)
    return payload


def changed(payload: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return a JSON text after a change of its value; an empty one if it is not JSON."""
    try:
        return msgspec.json.encode(change(msgspec.json.decode(payload)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return b""  # It cannot be parsed, and it may hold a key.


def without_keys(value: Any) -> Any:
    """Return a JSON value without the texts that look like a key or stand where a key belongs."""
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
