"""The first messages of a connection: whether the server begins a session. Pure.

link reads the JSON of these messages, and changes none of them. It also reads the error in the body
of an HTTP refusal.
"""

from __future__ import annotations

import json

#: How many messages are read: a server begins a session with its first one.
LOOKED_AT = 4
#: The longest message that is read, bytes: a session with its instructions and tools.
LONGEST = 256 * 1024
#: Parts of a server's words for a refusal that ends by itself: a slot or a quota is free again.
_PASSING = (
    "limit", "quota", "capacity", "overload", "too many", "busy", "in use", "slot", "try again",
    "already connected", "already exists", "already active", "is active", "active session",
    "concurrent", "occupied", "is full", "server full", "no free", "no available", "none available",
    "temporar", "maintenance", "is loading", "starting up", "warming up", "slow consumer",
)  # fmt: skip


class FirstMessages:
    """Reads the server's messages from the opening of the connection until a session begins."""

    def __init__(self) -> None:
        #: Whether the server has begun a session.
        self.session_begun = False
        #: The words of the last error event before that, for a person.
        self.error = ""
        self._left = LOOKED_AT

    @property
    def over(self) -> bool:
        """Whether no further message is read."""
        return self.session_begun or not self._left

    def read(self, text: bytes) -> None:
        """Read a message of the server."""
        if self.over:
            return
        self._left -= 1
        if len(text) > LONGEST:
            return
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        kind = str(event.get("type"))
        # A transcription session begins with transcription_session.created.
        self.session_begun = kind.endswith("session.created")
        if kind == "error":
            self.error = _words(event.get("error"))


def _words(error: object) -> str:
    """Return the name and the message of an error. Some servers have the name in ``type``."""
    if not isinstance(error, dict):
        return str(error or "")
    named = error.get("code") or error.get("type")
    # Servers that are made with FastAPI have the words in ``detail``.
    said = error.get("message") or error.get("detail")
    return ": ".join(str(part) for part in (named, said) if part)


def said_in(text: bytes) -> str:
    """Return the words of an error that came as JSON with an HTTP answer; "": there are none."""
    try:
        # The text may be in chunks, whose lengths stand before and after it.
        answer = json.loads(text[text.index(b"{") : text.rindex(b"}") + 1])
    except (ValueError, RecursionError):
        return ""
    return _words(answer.get("error") or answer)


def passes(words: str) -> bool:
    """Return whether a server's words speak of a refusal that ends by itself."""
    words = words.lower().replace("_", " ")
    return any(part in words for part in _PASSING)
