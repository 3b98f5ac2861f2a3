"""``bargein reload``: apply a change of [session] in config.toml to the running conversation."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from commands import description
from shared import config
from shared.command_line import Parser
from shared.running import holder
from shared.signals import RELOAD_SIGNAL

#: The stages that follow a change of [session] while they run. Monitor, if it runs, shows it.
FOLLOW = ("downlink", "uplink")


def main() -> int:
    """Ask the stages to read their settings again; return the exit code."""
    parser = Parser(prog="bargein reload", description=description(__doc__))
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        # A wrong setting is reported here, and no stage is asked.
        directory = config.bus_directory(config.load(arguments).config)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    running = {stage: pid for stage in (*FOLLOW, "monitor") if (pid := holder(directory, stage))}
    try:
        for pid in running.values():
            with suppress(ProcessLookupError):
                os.kill(pid, RELOAD_SIGNAL)
    except PermissionError:
        print(f"reload: the stages on {directory} belong to another user", file=sys.stderr)
        return 1
    if missing := [stage for stage in FOLLOW if stage not in running]:
        names = " and ".join(missing)
        print(f"reload: not running on {directory}: {names}", file=sys.stderr)
        return 1
    print("downlink and uplink read [session] again; their log says what has changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
