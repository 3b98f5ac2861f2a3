"""The file from which a restarted downlink reads the conversation as heard.

The file is in the bus directory and can be read by its owner only. It holds the published history
and the session in which it was published. It says nothing about another conversation: downlink uses
it only while the link process runs that opened this session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared import messages
from shared.private import read_file, replace_own

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
        """Return the content that an earlier downlink wrote, or None. Remove an unreadable file."""
        if not self.keep:
            self.remove()
            return None
        try:
            return msgspec.json.decode(read_file(self._path, MAX_BYTES), type=Saved)
        except (OSError, msgspec.MsgspecError, RecursionError):
            self.remove()
            return None

    def write(self, session: int, turns: Sequence[messages.HistoryTurn]) -> None:
        """Replace the file at once, so that it is never half written. Raises OSError."""
        if self.keep:
            replace_own(self._path, msgspec.json.encode(Saved(session, list(turns))))

    def remove(self) -> None:
        """Remove the file if there is one."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass  # Somebody else's directory: nothing is left there either.
