"""The file from which a restarted downlink reads the conversation as heard.

The file is in the bus directory and can be read by its owner only. It holds the published history
and the session in which it was published. It says nothing about another conversation: downlink uses
it only while the link process runs that opened this session.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared import messages

NAME = "history.json"
#: A larger file is not one of ours: a History message holds at most this many bytes.
MAX_BYTES = messages.MAX_TURNS


class Saved(msgspec.Struct, frozen=True):
    """The content of the file."""

    session: int
    turns: list[messages.HistoryTurn]


@dataclass
class HistoryFile:
    """The history of one conversation in a directory. Without ``keep``, no file is left there."""

    directory: Path
    keep: bool

    @property
    def _path(self) -> Path:
        return self.directory / NAME

    def read(self) -> Saved | None:
        """Return what an earlier downlink wrote, or None. Remove a file that cannot be read."""
        if not self.keep:
            self.remove()
            return None
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ValueError("too long")
            return msgspec.json.decode(text, type=Saved)
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
            self.remove()
            return None

    def write(self, session: int, turns: Sequence[messages.HistoryTurn]) -> None:
        """Replace the file at once, so that it is never half written. Raises OSError."""
        if not self.keep:
            return
        part = self._path.with_suffix(".part")
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(Saved(session, list(turns))))
        part.replace(self._path)

    def remove(self) -> None:
        """Remove the file if there is one."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass  # Somebody else's directory: nothing is left there either.
