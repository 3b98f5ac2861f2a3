"""``bargein stop [STAGE …]``: end the conversation on a bus, or some of its stages."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from commands import description
from shared import config, registry
from shared.command_line import Parser
from shared.running import LOOK_S, holder
from shared.signals import SHUTDOWN_S

#: A stage ends within SHUTDOWN_S of the signal. One that has not ended after this long, s, is
#: killed.
PATIENCE_S = SHUTDOWN_S + 1.2


def end(directory: Path, stages: Sequence[str]) -> dict[str, int]:
    """End those of these stages that run, and wait until they have ended; return their pids.

    Raises PermissionError if a process belongs to another user.
    """
    ended = {stage: pid for stage in stages if (pid := holder(directory, stage))}
    for pid in ended.values():
        # A stopped process (Ctrl-Z) handles SIGTERM only after SIGCONT.
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


def main() -> int:
    """End stages; return the exit code."""
    parser = Parser(prog="bargein stop", description=description(__doc__))
    known = registry.PROCESSES
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"one of {', '.join(known)}")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(known):
        parser.error(f"no stage {min(unknown)}; the stages are {', '.join(known)}")
    try:
        directory = config.bus_directory(config.load(arguments).config)
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


if __name__ == "__main__":
    sys.exit(main())
