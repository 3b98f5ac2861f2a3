"""End a conversation, or start one of its stages again, from anywhere.

``python -m commands.stop [STAGE …]`` ends all stages on the bus, or those named.
``python -m commands.stop --restart STAGE`` ends one so that what started it starts it again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shared import config, registry
from shared.stage import RESTART_SIGNAL, SHUTDOWN_S

#: A stage ends within SHUTDOWN_S of being asked; one that has not after this long is killed, s.
PATIENCE_S = SHUTDOWN_S + 1.2
#: A stage that is started again holds its lock within this long, s: Python has to start.
RESTARTED_S = 5.0
LOOK_S = 0.02


def holder(directory: Path, stage: str) -> int:
    """Return the pid of the process that holds a stage's lock; 0: nobody does."""
    try:
        with (directory / f"{stage}.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read(32).strip() or 0)
    except (OSError, ValueError):
        pass  # no lock, or one that is just being taken
    return 0


def end(directory: Path, stages: Sequence[str]) -> dict[str, int]:
    """End stages and wait until they have ended; return their pids.

    Raises PermissionError for a process of another user.
    """
    ended = {stage: pid for stage in stages if (pid := holder(directory, stage))}
    for pid in ended.values():
        # a process that is stopped acts on the first only after the second
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + PATIENCE_S
    while any(holder(directory, stage) == pid for stage, pid in ended.items()):
        if time.monotonic() > deadline:
            for stage, pid in ended.items():
                if holder(directory, stage) == pid:
                    os.kill(pid, signal.SIGKILL)
            break
        time.sleep(LOOK_S)
    return ended


def restart(directory: Path, stage: str) -> tuple[int, int]:
    """End a stage with the exit code RESTART; return its pid and that of the one after it.

    The first is 0 if the stage is not running, the second if nothing started it again.
    """
    before = holder(directory, stage)
    if not before:
        return 0, 0
    os.kill(before, RESTART_SIGNAL)
    os.kill(before, signal.SIGCONT)
    deadline = time.monotonic() + RESTARTED_S
    while (now := holder(directory, stage)) in (0, before):
        if time.monotonic() > deadline:
            return before, 0
        time.sleep(LOOK_S)
    return before, now


def main() -> int:
    """End or restart stages; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.stop", description=__doc__)
    known = (*registry.STAGES, *registry.LISTENERS)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"one of {', '.join(known)}")
    parser.add_argument("--restart", metavar="STAGE", choices=known, help="start this one again")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(known):
        parser.error(f"no stage {min(unknown)}; the stages are {', '.join(known)}")
    try:
        directory = config.bus_directory(config.load(arguments).config)
        if arguments.restart:
            return _tell_restart(arguments.restart, *restart(directory, arguments.restart))
        ended = end(directory, arguments.stages or known)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except PermissionError:
        print(f"stop: the stages on {directory} belong to another user", file=sys.stderr)
        return 1
    if not ended:
        print(f"nothing was running on {directory}")
        return 0
    print("ended", ", ".join(f"{stage} (pid {pid})" for stage, pid in ended.items()))
    return 0


def _tell_restart(stage: str, before: int, after: int) -> int:
    if not before:
        print(f"restart: {stage} is not running", file=sys.stderr)
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
