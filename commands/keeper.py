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

    def run(self, events: Any = None, _ignore_signals: bool = True) -> None:
        # The signals of the terminal, and of "kill %1", reach the keeper too, but the launcher
        # handles them. The keeper has a handler for each, because the stage would inherit SIG_IGN.
        # A SIG_IGN that nohup or a script has set is left alone: the stage has to inherit it.
        launcher = os.getppid()

        def wake(*_: object) -> None:
            """Let the launcher end: dash does not continue a stopped job that it ends."""
            if os.getppid() == launcher:
                os.kill(launcher, signal.SIGCONT)

        handlers = {signal.SIGTSTP: lambda *_: None} | dict.fromkeys(
            (signal.SIGHUP, signal.SIGINT, signal.SIGTERM), wake
        )
        for number, handler in handlers.items():
            if not parent.ignored(number):
                signal.signal(number, handler)
        threading.Thread(target=self._end_with, args=(launcher,), daemon=True).start()
        super().run(events)

    def _end_with(self, launcher: int) -> None:
        """End the stage when the launcher is gone: a stage that Ctrl-Z has stopped cannot look."""
        while os.getppid() == launcher:
            time.sleep(parent.LOOK_S)
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
