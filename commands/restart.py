"""``bargein restart STAGE``: start one stage again while the conversation goes on.

The stage ends with the exit code RESTART. The program that started the stage (``bargein start``,
``bargein demo`` or systemd) then starts it again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from commands import description
from shared import config, registry
from shared.command_line import Parser
from shared.running import LOOK_S, holder
from shared.signals import RESTART_SIGNAL

#: How long to wait for the new process to take the stage's lock, s: Python has to start first.
RESTARTED_S = 5.0
#: A stage that still runs this long after RESTART_SIGNAL gets SIGTERM, s. Our own stages end within
#: 0.8 s. A program in another language may not know RESTART_SIGNAL: Node opens its debugger on it.
KNOWS_SIGNAL_S = 1.0


def restart(directory: Path, stage: str) -> tuple[int, int]:
    """Ask a stage to end so that it is started again; return its old pid and its new pid.

    The old pid is 0 if the stage is not running. The new pid is 0 if the stage has ended and
    nothing started it again, and it is the old pid if the old process still runs. Raises
    PermissionError if the process belongs to another user.
    """
    before = holder(directory, stage)
    if not before:
        return 0, 0
    _signal(before, RESTART_SIGNAL)
    began, asked = time.monotonic(), False
    while (now := holder(directory, stage)) in (0, before):
        waited_s = time.monotonic() - began
        if waited_s > RESTARTED_S:
            break
        if waited_s > KNOWS_SIGNAL_S and now and not asked:
            asked = True
            _signal(before, signal.SIGTERM)
        time.sleep(LOOK_S)
    return before, now


def _signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, also to one that is stopped (Ctrl-Z)."""
    # A stopped process handles the signal only after SIGCONT. Another process can have ended
    # before SIGCONT is sent.
    for each in (number, signal.SIGCONT):
        with suppress(ProcessLookupError):
            os.kill(pid, each)


def main() -> int:
    """Restart a stage; return the exit code."""
    parser = Parser(prog="bargein restart", description=description(__doc__))
    known = registry.PROCESSES
    parser.add_argument("stage", choices=known, metavar="STAGE", help=f"one of {', '.join(known)}")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    stage = arguments.stage
    try:
        directory = config.bus_directory(config.load(arguments).config)
        before, after = restart(directory, stage)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except PermissionError:
        print(f"restart: {stage} on {directory} belongs to another user", file=sys.stderr)
        return 1
    if not before:
        print(f"restart: {stage} is not running on {directory}", file=sys.stderr)
        return 1
    if after == before:
        print(
            f"restart: {stage} (pid {before}) still runs: SIGUSR1 and SIGTERM did not end"
            f" it. End it with 'bargein stop {stage}'",
            file=sys.stderr,
        )
        return 1
    if not after:
        print(
            f"restart: {stage} (pid {before}) has ended, and nothing started it again:"
            f" start it with 'bargein {stage}'",
            file=sys.stderr,
        )
        return 1
    print(f"{stage}: pid {before} has ended, pid {after} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
