"""Hides the API key in a server's messages, should the server send the key back. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

MASK = "****"
#: A shorter key is not masked, in characters: it is no secret but a placeholder ("none", "EMPTY"),
#: and could occur by chance in the audio's base64.
SHORTEST = 8
#: The characters that JSON can escape with a backslash alone.
_SHORT = '"\\/'


class Mask:
    """Replaces one key. With a key that is too short to be a secret, every text stays as it is."""

    def __init__(self, key: str) -> None:
        self._key = key if len(key) >= SHORTEST else ""
        self._bytes = self._key.encode()
        #: A text without these bytes contains no escaped spelling of the key.
        self._escape = b"\\" if any(c in self._key for c in _SHORT) else b"\\u00"
        spelled = "".join(map(_spellings, self._key))
        self._in_text, self._in_bytes = re.compile(spelled), re.compile(spelled.encode())

    def event(self, text: bytes) -> bytes:
        """Return a server event without the key. A JSON document stays one.

        JSON can write each character as an escape, so the event is decoded if it might hold the
        key. This is rare. Without an escape, the check takes as long as a search for the key.
        """
        if not self._key or not (
            self._bytes in text or (self._escape in text and self._in_bytes.search(text))
        ):
            return text
        try:
            return msgspec.json.encode(self._masked(msgspec.json.decode(text)))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Nobody can read this event.
            return self._in_bytes.sub(MASK.encode(), text)

    def text(self, text: str) -> str:
        """Return a text without the key."""
        return self._in_text.sub(MASK, text) if self._key else text

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                return value.replace(self._key, MASK)
            case list():
                return [self._masked(each) for each in value]
            case dict():
                return {self._masked(name): self._masked(each) for name, each in value.items()}
        return value


def _spellings(character: str) -> str:
    """Return a pattern for a character of a key: as it is, and as JSON can escape it."""
    digits = "".join(f"[{d}{d.upper()}]" for d in f"{ord(character):02x}")
    short = r"\\?" if character in _SHORT else ""
    return rf"(?:{short}{re.escape(character)}|\\u00{digits})"
