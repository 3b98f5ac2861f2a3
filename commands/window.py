"""The window that shows a conversation to the person: a conversation must not outlive it."""

from __future__ import annotations

import os
import select
import time

from shared import parent

#: How often to check whether the window is still there, s.
LOOK_S = 1.0


class Window:
    """The terminal or the program in which the launcher was started.

    To be made before this process sets handlers for signals.
    """

    def __init__(self) -> None:
        self._parent = parent.to_watch()
        self._stays = parent.told_to_stay()
        self._looked_s = time.monotonic()

    def lost(self) -> str:
        """Return why the conversation has to end; "" if it may go on. Call this once a second."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return ""
        self._looked_s = now_s
        if self._parent is not None and (reason := self._parent.lost()):
            return reason
        if self._stays:
            return ""
        # SIGHUP does not reach a process without a controlling terminal (setsid).
        if parent.hung_up(1):
            return "nothing shows its output any more"
        # `script` keeps its terminal open when its own is closed, and types Ctrl-D there.
        return "Ctrl-D" if _at_end(0) else ""


def _at_end(descriptor: int) -> bool:
    """Return whether a person, or `script`, has pressed Ctrl-D. Discard what was typed before."""
    try:
        if not os.isatty(descriptor) or os.tcgetpgrp(descriptor) != os.getpgrp():
            return False  # a process in the background must not read
        if not select.select([descriptor], [], [], 0)[0]:
            return False
        return os.read(descriptor, 4096) == b""
    except OSError:
        return False
