"""Whether the conversation sleeps: link then has no session, and opens none.

A file in the bus directory keeps that for a link that is started again: after a crash or ``bargein
restart`` in the middle of a sleep, the conversation goes on sleeping. A link that was asked to end
removes the file, so that the next conversation begins awake.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from shared import messages, private

NAME = "link.asleep"
#: A larger file is not one of ours, bytes.
LONGEST = 16 * 1024


class _Saved(msgspec.Struct, frozen=True):
    cause: messages.Cause
    reason: messages.Line


class Asleep:
    """Downlink's last word about the sleep."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        #: Why the conversation sleeps, as in LinkState; "": it is awake.
        self.cause: messages.Cause = ""
        #: The same in words.
        self.reason = ""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if self._path.stat().st_size <= LONGEST:
                saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
                self.cause, self.reason = saved.cause, saved.reason

    def follow(self, sleep: messages.Sleep) -> bool:
        """Take downlink's word. Return whether the conversation fell asleep or woke."""
        cause = (sleep.cause or "asked") if sleep.asleep else ""
        changed = bool(cause) != bool(self.cause)
        if cause != self.cause:
            self.cause, self.reason = cause, sleep.reason
            if cause:
                with contextlib.suppress(OSError):  # a full disk: downlink still knows
                    text = msgspec.json.encode(_Saved(cause, sleep.reason))
                    private.replace_own(self._path, text)
            else:
                self.forget()
        return changed

    def forget(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
