"""The names that a person's module of functions can use: ``say`` and ``Image``.

A module needs neither: a function with types and a docstring is enough.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """A picture that a function returns, alone or in a list with texts."""

    data: bytes
    mime_type: str = "image/png"

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode()}"


class _Sender:
    """The function with which ``say`` sends its text; None outside Bargein."""

    send: Callable[[str], None] | None = None


def say(text: str) -> None:
    """Have the assistant say something without being called: a timer is due, a message came.

    The assistant waits for a quiet moment. Any thread may call this. Outside Bargein the text is
    printed.
    """
    if _Sender.send is None:
        print(text)
    else:
        _Sender.send(text)


def connect(send: Callable[[str], None]) -> None:
    """Let ``say`` send its text with ``send``."""
    _Sender.send = staticmethod(send)
