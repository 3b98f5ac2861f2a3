"""Whether the conversation sleeps: link then has no session, and opens none.

A file in the bus directory keeps this state for a link that is started again: after a crash or
``bargein restart`` in the middle of a sleep, the conversation goes on sleeping. When link is asked
to end, it writes into the file which downlink runs. The file then counts only for a link that finds
the same downlink running: the next conversation begins awake.

A downlink on another machine leaves no trace in the bus directory. So a link that starts waits for
downlink's message: downlink answers link's first state, and repeats its last Sleep to each new
reader.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from shared import messages, private
from shared.network import LOCAL, Network
from shared.running import holder

NAME = "link.asleep"
#: A larger file is not one of ours, bytes.
LONGEST = 16 * 1024
#: How long a link that starts waits for the answer of a downlink on another machine, s. The answer
#: takes milliseconds where downlink runs.
ANSWER_S = 2.0


class _Saved(msgspec.Struct, frozen=True):
    cause: messages.Cause
    reason: messages.Line
    #: The downlink that ran when link was asked to end; "": link was not asked.
    downlink: str = ""


class Asleep:
    """Whether the conversation sleeps, by downlink's last message."""

    def __init__(self, directory: Path, network: Network = LOCAL) -> None:
        self._path, self._directory = directory / NAME, directory
        #: Why the conversation sleeps, as in LinkState; "": it is awake.
        self.cause: messages.Cause = ""
        #: The same in words.
        self.reason = ""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            saved = msgspec.json.decode(private.read_file(self._path, LONGEST), type=_Saved)
            if saved.downlink in ("", _downlink(directory)):
                self.cause, self.reason = saved.cause, saved.reason
            else:
                self.forget()
        elsewhere = "downlink" in network.addresses and not _downlink(directory)
        #: Whether link waits for downlink's first message, which says whether the conversation
        #: sleeps.
        self.unknown = elsewhere and not self.cause

    def follow(self, sleep: messages.Sleep) -> bool:
        """Take downlink's message. Return whether the conversation fell asleep or woke.

        Also return True for the first message, if link waits for it.
        """
        waited, self.unknown = self.unknown, False
        cause = (sleep.cause or "asked") if sleep.asleep else ""
        changed = waited or bool(cause) != bool(self.cause)
        if cause != self.cause:
            self.cause, self.reason = cause, sleep.reason
            if cause:
                self._save()
            else:
                self.forget()
        return changed

    def end(self) -> None:
        """Prepare for the end that link was asked for.

        Either the conversation ends, or link alone, for example by ``systemctl restart``. A link
        that starts again can tell which: if link alone ended, the same downlink still runs.
        """
        downlink = _downlink(self._directory) if self.cause else ""
        if downlink:
            self._save(downlink)
        else:
            self.forget()

    def _save(self, downlink: str = "") -> None:
        with contextlib.suppress(OSError):  # a full disk: downlink still knows
            text = msgspec.json.encode(_Saved(self.cause, self.reason, downlink))
            private.replace_own(self._path, text)

    def forget(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _downlink(directory: Path) -> str:
    """Return a text that is different for each downlink; "": none runs on this machine.

    It contains the time at which downlink wrote to its lock's file: in a container, the next
    downlink can have the same pid.
    """
    pid = holder(directory, "downlink")
    with contextlib.suppress(OSError):
        return f"{pid} {(directory / 'downlink.lock').stat().st_mtime_ns}" if pid else ""
    return ""
