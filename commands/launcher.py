"""``bin/start`` and ``bin/demo``: honcho, with stages that are started again when they crash.

honcho ends everything when one process ends. Here a stage that crashed is started again, after a
delay that doubles with each crash; a stage that ended on purpose ends the conversation. Closing the
terminal ends the stages, and Ctrl-Z stops them until ``fg``.

``python -m commands.launcher [arguments of "honcho start"]``
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from honcho import command
from honcho.manager import KILL_WAIT, SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message
from honcho.process import Process

from shared.stage import CRASHED, RESTART

#: Delays before a stage that crashed is started again, s. A stage that ran for longer than STEADY_S
#: begins with the first delay again.
FIRST_S, MOST_S, STEADY_S = 0.2, 30.0, 60.0
#: The loop looks at what is due this often, s.
LOOK_S = 0.1


def crashed(code: int) -> bool:
    """Return whether an exit code (negative: a signal) is one after which a restart may help."""
    # a shell reports a signal as 128 + its number
    return code < 0 or code in (CRASHED, RESTART) or code > 128


class Delays:
    """How long to wait before a stage is started again. Pure: times are s of a growing clock."""

    def __init__(self) -> None:
        self._next = FIRST_S

    def after(self, code: int, ran_s: float) -> float:
        """Return the delay, s, after a run of ``ran_s`` that ended with this exit code."""
        if code == RESTART:
            return 0.0  # somebody asked for it
        if ran_s > STEADY_S:
            self._next = FIRST_S
        delay, self._next = self._next, min(2 * self._next, MOST_S)
        return delay


class _Keeper(Process):  # type: ignore[misc]  # honcho has no types
    """honcho's process around a stage: it passes on the stage's output and its exit code."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # The terminal's signals are for the launcher, which ends or stops the stages. A handler,
        # not SIG_IGN, because the stage would inherit that; nohup's SIG_IGN it is to inherit.
        for number in (signal.SIGHUP, signal.SIGTSTP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        super().run(events, ignore_signals)


class Launcher(Manager):  # type: ignore[misc]
    """honcho's manager; see the module."""

    returncode: int | None

    def __init__(self, printer: Any = None) -> None:
        super().__init__(printer)
        self._process_ctor = _Keeper
        self._delays: dict[str, Delays] = {}
        self._began: dict[str, float] = {}
        self._due: dict[str, float] = {}  # stages to start again, and when
        self._asked = 0  # the signal that asked for the end
        self._suspend = False

    def loop(self) -> None:
        """Run the processes until one ends on purpose, or until a signal asks for the end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._on_signal)
        self._delays = {name: Delays() for name in self._processes}
        self._start()
        self._began = dict.fromkeys(self._processes, time.monotonic())
        ending = 0.0
        while True:
            try:
                self._handle(self.events.get(timeout=LOOK_S))
            except queue.Empty:
                if ending and self._all_stopped():
                    break
            if self._suspend:
                self._suspend = False
                self._stop_until_continued()
            if self._asked and not ending:
                self.returncode = 128 + self._asked
                self._say(f"{signal.Signals(self._asked).name} received")
            if not ending and self.returncode is not None:
                ending = time.monotonic()
                self.terminate()
            if ending and time.monotonic() - ending > KILL_WAIT:
                self.kill()
            self._find_lost()
            if not ending:
                self._start_due()

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTSTP:
            self._suspend = True
        else:
            self._asked = number

    def _handle(self, message: Any) -> None:
        name = message.name
        if message.type == "line":
            self._write(message)
        elif message.type == "start":
            self._processes[name]["pid"] = message.data["pid"]
            self._say(f"{name} started (pid={message.data['pid']})")
        elif message.type == "stop":
            self._ended(name, int(message.data["returncode"]))

    def _ended(self, name: str, code: int) -> None:
        self._say(f"{name} stopped (rc={code})")
        if self._terminating or self._asked or not crashed(code):
            self._processes[name]["returncode"] = code
            if self.returncode is None:
                self.returncode = code
            return
        delay = self._delays[name].after(code, time.monotonic() - self._began[name])
        self._due[name] = time.monotonic() + delay
        # honcho's own methods take a process without a pid for one that has not started
        self._processes[name]["returncode"] = code
        self._say(f"{name} is started again in {delay:.1f} s: the conversation goes on")

    def _find_lost(self) -> None:
        """End a stage whose keeper was killed, because nobody would report the end of the stage."""
        for name, row in self._processes.items():
            if "returncode" not in row and row.get("pid") and row["process"].exitcode:
                with suppress(ProcessLookupError):
                    os.killpg(row["pid"], signal.SIGKILL)
                self._ended(name, -signal.SIGKILL)

    def _start_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, at in self._due.items() if at <= now]:
            del self._due[name]
            row = self._processes[name]
            del row["returncode"], row["pid"]
            row["process"].join()
            row["process"] = multiprocessing.Process(
                name=name, target=row["obj"].run, args=(self.events, True)
            )
            row["process"].start()
            self._began[name] = now

    def _killall(self, force: bool = False) -> None:
        # A stage that was just started has no pid yet: wait until the keeper has reported it.
        while any(
            r.get("pid") is None and r["process"].is_alive() for r in self._processes.values()
        ):
            with suppress(queue.Empty):
                self._handle(self.events.get(timeout=LOOK_S))
        for row in self._processes.values():
            if row.get("pid") is None:
                row["returncode"] = -signal.SIGKILL  # its keeper was killed before it started
        super()._killall(force)

    def _stop_until_continued(self) -> None:
        """Stop the stages, then this process; when it is continued, continue the stages."""
        self._signal_all(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # the next line runs after SIGCONT
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for row in self._processes.values():
            if "returncode" not in row and row.get("pid") is not None:
                with suppress(ProcessLookupError):
                    os.killpg(row["pid"], number)

    def _say(self, text: str) -> None:
        self._system_print(f"{text}\n")

    def _write(self, message: Any) -> None:
        try:
            self._printer.write(message)
        except OSError as error:
            # The terminal is gone (EIO; SIGHUP says so too, unless it is ignored), or the program
            # that read the output (EPIPE): that was the window of the conversation.
            if isinstance(error, BrokenPipeError):
                self._asked = self._asked or signal.SIGPIPE
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until this process ends
            self._printer.output = sys.stdout

    def _system_print(self, data: str) -> None:
        now = self._clock.now()
        self._write(Message("line", data, now, SYSTEM_PRINTER_NAME, None))


def main() -> int:
    """Run ``honcho start`` with this manager; return the exit code."""
    command.Manager = Launcher
    command.main(["start", *sys.argv[1:]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
