"""The launcher of ``bargein start`` and ``bargein demo``: honcho, but a crashed stage is restarted.

honcho ends every process when one process ends. This launcher restarts a crashed stage after a
delay that doubles with each crash. A stage that ends on purpose ends the conversation. Closing the
terminal ends the stages. Ctrl-Z stops the stages until ``fg`` continues them.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from honcho import command
from honcho.manager import KILL_WAIT, SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

from commands import envfile
from commands.crashes import Delays, crashed
from commands.keeper import Keeper
from commands.screen.output import Output
from commands.window import Window
from shared import parent, watchdog
from shared.command_line import Parser
from shared.printable import printable_lines
from shared.redaction import Refusal
from shared.signals import ending_signals
from shared.watchdog import Watch

#: A stage that reported each second, and then not for this long, s, hangs: it is killed and started
#: again. Even on a busy machine a stage gets the processor sooner.
HANGS_S = 10.0
#: The states of a process that somebody stopped.
STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
#: If this process was itself stopped or blocked for longer, s, it knows nothing of the stages.
STALLED_S = 5.0
#: How often the loop looks for stages to start, s, while no process has anything to report.
LOOK_S = 0.1


def _is_stopped(pid: int | None) -> bool:
    """Return whether a process was stopped: by a debugger, or with SIGSTOP."""
    try:
        return pid is not None and psutil.Process(pid).status() in STOPPED
    except psutil.Error:
        return False


class Launcher(Manager):  # type: ignore[misc]
    """honcho's manager, which starts a crashed stage again."""

    returncode: int | None

    def __init__(self, printer: Any = None) -> None:
        super().__init__(printer)
        # The printer's own escape sequences make the colours. ``_write`` filters the text.
        self._printer.output = getattr(self._printer.output, "unfiltered", self._printer.output)
        self._process_ctor = Keeper
        self._delays: dict[str, Delays] = {}
        self._began: dict[str, float] = {}
        self._due: dict[str, float] = {}  # when to start a crashed stage again
        self._asked = 0  # the signal that asked this process to end; 0: none did
        self._suspend = False  # whether Ctrl-Z was pressed
        self._watches: dict[str, Watch] = {}
        self._looked_s = 0.0  # when the watches were last checked

    def loop(self) -> None:
        """Run the stages until one ends on purpose, or until a signal asks this process to end."""
        window = Window()
        suspends = [] if parent.ignored(signal.SIGTSTP) else [signal.SIGTSTP]
        for number in (*ending_signals(), *suspends):
            signal.signal(number, self._on_signal)
        self._delays = {name: Delays() for name in self._processes}
        with tempfile.TemporaryDirectory(prefix="bargein-watch-") as place:
            self._watch(Path(place))
            screen = self._printer if isinstance(self._printer, Output) else None
            try:
                if screen is not None:
                    screen.open(next(iter(self._processes.values()))["obj"].env)
                self._loop(screen, window)
            finally:
                for watch in self._watches.values():
                    watch.close()
                if screen is not None:
                    screen.close()

    def _watch(self, place: Path) -> None:
        """Open a socket for each process, to which the process reports."""
        for number, (name, row) in enumerate(self._processes.items()):
            self._watches[name] = Watch(place / str(number), HANGS_S)
            row["obj"].env[watchdog.VARIABLE] = self._watches[name].address

    def _loop(self, screen: Output | None, window: Window) -> None:
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
            if not ending and (reason := window.lost()):
                self._say(f"{reason}: the conversation ends")
                self._asked = self._asked or signal.SIGHUP
            if self._asked and not ending:
                self.returncode = 128 + self._asked
                self._say(f"{signal.Signals(self._asked).name} received")
            if not ending and self.returncode is not None:
                ending = time.monotonic()
                self.terminate()
            if ending and time.monotonic() - ending > KILL_WAIT:
                self.kill()
            if screen is not None:
                self._write(screen.look)
            self._find_lost()
            if not ending:
                self._end_hanging(time.monotonic())
                self._start_due()

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTSTP:
            self._suspend = True
        else:
            self._asked = number

    def _handle(self, message: Any) -> None:
        name = message.name
        if message.type == "line":
            self._print(message)
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
                if code and not self._asked:
                    self._tell(name, f"has failed (exit code {code}), so the conversation ends")
            return
        delay = self._delays[name].after(code, time.monotonic() - self._began[name])
        self._due[name] = time.monotonic() + delay
        # honcho's own methods send no signal to a process that has an exit code. The pid stays:
        # they take a process without one for a process that has not started.
        self._processes[name]["returncode"] = code
        self._tell(name, f"is started again in {delay:.1f} s: the conversation goes on")

    def _find_lost(self) -> None:
        """End each stage whose keeper was killed: no process would report the end of the stage."""
        for name, row in self._processes.items():
            if "returncode" not in row and row.get("pid") and row["process"].exitcode:
                with suppress(ProcessLookupError):
                    os.killpg(row["pid"], signal.SIGKILL)
                self._ended(name, -signal.SIGKILL)

    def _end_hanging(self, now: float) -> None:
        """Kill each stage whose loop no longer turns. Its end is then handled like a crash."""
        if now - self._looked_s < 1.0:
            return
        stalled, self._looked_s = now - self._looked_s > STALLED_S, now
        for name, watch in self._watches.items():
            row = self._processes[name]
            if not watch.hangs(now):
                continue
            if stalled or _is_stopped(row.get("pid")):
                watch.begin(now)
            elif "returncode" not in row:
                self._tell(name, f"hangs: no report for {HANGS_S:g} s, so it is killed")
                watch.forget()
                with suppress(ProcessLookupError):
                    os.killpg(row["pid"], signal.SIGKILL)

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
            self._watches[name].forget()
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
        """Stop the stages, then this process. After ``fg``, continue the stages."""
        self._signal_all(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # SIGCONT resumes this process here.
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for row in self._processes.values():
            if "returncode" not in row and row.get("pid") is not None:
                with suppress(ProcessLookupError):
                    os.killpg(row["pid"], number)

    def _say(self, text: str) -> None:
        self._system_print(f"{text}\n")

    def _tell(self, name: str, what: str) -> None:
        """Say what happens to a process, on the screen as well."""
        self._say(f"{name} {what}")
        if isinstance(self._printer, Output):
            self._printer.notice(name, what)

    def _print(self, message: Any) -> None:
        text = message.data
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self._write(lambda: self._printer.write(message._replace(data=printable_lines(text))))

    def _write(self, write: Callable[[], None]) -> None:
        """Call the printer. The conversation ends with the program that shows the output."""
        try:
            write()
        except OSError as error:
            # EIO: the terminal is gone. SIGHUP reports that too, unless SIGHUP is ignored. EPIPE:
            # the program that showed the output is gone, which was the conversation's window.
            if isinstance(error, BrokenPipeError):
                self._asked = self._asked or signal.SIGPIPE
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open until this process ends
            self._printer.output = sys.stdout

    def _system_print(self, data: str) -> None:
        now = self._clock.now()
        self._print(Message("line", data, now, SYSTEM_PRINTER_NAME, None))


def _concurrency(option: str | None, parse: Any = command._parse_concurrency) -> Any:  # noqa: SLF001
    """Return how often to start each process. Raises Refusal, where honcho raises ValueError."""
    try:
        return parse(option)
    except ValueError:
        raise Refusal(f"-c {option}: expected NAME=NUMBER") from None


def run(arguments: Sequence[str], printer: Callable[..., Printer] | None = None) -> int:
    """Run ``honcho start`` with these arguments, this manager and our parser of the file .env.

    ``printer`` makes the printer, with the options of honcho's own. Return the exit code. Raises
    envfile.EnvFileError.
    """
    command.Manager = Launcher
    command.CommandError = Refusal
    for each in (command.parser, *command.subparsers.choices.values()):
        each.__class__ = Parser
    if sys.platform == "linux":
        # From Python 3.14 on, a process between the launcher and the keepers would start these.
        multiprocessing.set_start_method("fork", force=True)
    if printer is not None:
        command.Printer = lambda _output, **how: printer(**how)
    command._read_env = lambda root, files: envfile.read_files(files, root)[0]  # noqa: SLF001
    command._parse_concurrency = _concurrency  # noqa: SLF001
    try:
        command.main(["start", *arguments])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
