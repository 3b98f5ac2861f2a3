"""The process that the launcher runs around each stage."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from honcho.process import Process

from shared import parent


class Keeper(Process):  # type: ignore[misc]  # honcho has no types
    """The process that honcho runs around one stage.

    The keeper passes the stage's output and exit code on to the launcher.
    """

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # The terminal sends its signals to the keeper too, but the launcher handles them. The
        # keeper ignores them with an empty handler, because the stage would inherit SIG_IGN. A
        # SIG_IGN that nohup has set is left alone: the stage has to inherit it.
        for number in (signal.SIGHUP, signal.SIGTSTP):
            if not parent.ignored(number):
                signal.signal(number, lambda *_: None)
        threading.Thread(target=self._end_with, args=(os.getppid(),), daemon=True).start()
        super().run(events, ignore_signals)

    def _end_with(self, launcher: int) -> None:
        """End the stage when the launcher is gone: a stage that Ctrl-Z has stopped cannot look."""
        while os.getppid() == launcher:
            time.sleep(parent.LOOK_S)
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
