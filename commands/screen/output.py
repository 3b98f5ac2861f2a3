"""The launcher's output: the log into a file, and what a person has to know onto the screen.

The screen is a process of its own, ``python -m commands.screen``. It reads the bus by itself. A
terminal that takes no output stops only that process.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from honcho.printer import Printer

from commands.screen import faults
from commands.screen.log_file import LogFile
from shared.printable import printable
from shared.realtime import endpoint

#: The bytes that wait for a screen that does not read. Later bytes are only in the log.
MOST_WAITING = 256 * 1024
#: How long the screen may take at the end, s.
END_S = 1.0
#: The exit code of a screen whose reader is gone.
READER_GONE = 128 + signal.SIGPIPE
#: The exit code of a screen whose terminal is gone.
TERMINAL_GONE = 128 + signal.SIGHUP


class Output(Printer):  # type: ignore[misc]  # honcho has no types
    """The launcher's printer. It writes every line into the log file.

    ``verbose``: the log is on the screen as well, and nothing else.
    """

    def __init__(self, log: Path, arguments: Sequence[str], *, verbose: bool, **how: Any) -> None:
        super().__init__(sys.stdout, **how)
        self._log: LogFile | None = None
        self._trouble = ""
        self._arguments = arguments
        self._verbose = verbose
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = b""
        try:
            self._log = LogFile(log)
        except OSError as error:
            self._trouble = str(error)

    def open(self, env: Mapping[str, str]) -> None:
        """Start the screen, with the environment of a stage."""
        if self._verbose:
            return
        env = {name: value for name, value in env.items() if name != endpoint.KEY_VARIABLE}
        colour = [] if self.colour else ["--no-colour"]
        # The screen inherits the mask: Ctrl-C must not end it while Python still imports modules.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "commands.screen", *self._arguments, *colour],
                env=env,
                stdin=subprocess.PIPE,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def write(self, message: Any) -> None:
        """Write a line of a process, which ``printable_lines`` has filtered, or of the launcher.

        Raises OSError if the output's reader is gone.
        """
        for line in message.data.splitlines():
            self._to_log(f"{(message.name or '').ljust(self.width)} | {line}")
            if self._process is not None and (found := faults.notable(line)) is not None:
                self._to_screen(found[0], _process_name(message.name), found[1])
        if self._process is None:
            super().write(message)
        else:
            self.look()

    def notice(self, name: str, text: str) -> None:
        """Show a line of the launcher about a process."""
        if self._process is not None:
            self._to_screen("launcher", _process_name(name), text)

    def look(self) -> None:
        """Send the waiting lines to the screen. Raises OSError if the output's reader is gone."""
        if self._process is None:
            return
        self._send()
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        if code in (READER_GONE, -signal.SIGPIPE):
            raise BrokenPipeError(errno.EPIPE, "the program that read the output has ended")
        if code in (TERMINAL_GONE, -signal.SIGHUP):
            raise OSError(errno.EIO, "the terminal is gone")
        # The screen crashed. From here on the log is shown, as with -v.

    def close(self) -> None:
        """Let the screen write the remaining lines, and end it."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            self._process = process
            self._to_screen("end", "", "")
            self._process = None
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()

    def _to_log(self, text: str) -> None:
        if self._log is None:
            return
        self._log.line(printable(text))
        if self._log.trouble and self._log.trouble != self._trouble:
            self.notice("log", f"be written: {self._log.trouble}")
        self._trouble = self._log.trouble

    def _to_screen(self, kind: str, name: str, text: str) -> None:
        line = json.dumps([kind, name, text]).encode() + b"\n"
        if len(self._waiting) + len(line) <= MOST_WAITING:
            self._waiting += line
        self._send()

    def _send(self) -> None:
        if self._process is None or self._process.stdin is None or not self._waiting:
            return
        try:
            sent = os.write(self._process.stdin.fileno(), self._waiting)
        except OSError:
            return  # it is full, or the screen has ended: `look` finds that out
        self._waiting = self._waiting[sent:]


def _process_name(name: str | None) -> str:
    """Return the name of a process in Procfile: honcho calls its first instance ``vad.1``."""
    return (name or "").partition(".")[0]
