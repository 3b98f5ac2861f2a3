"""The one filter for printed text that a server, a device or another program wrote."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with the JSON escape of each character that does not print.

    This covers control characters (C0 and C1, which begin a terminal's escape sequences), line
    breaks, characters that change the direction of writing, and all spaces but the plain one. In a
    JSON document the result means the same as the text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
