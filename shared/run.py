"""A stage as a command: its command line, its configuration, its log and its exit code."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from shared import config
from shared.command_line import Parser
from shared.directory import BusError
from shared.exit_codes import BAD_CONFIG, CRASHED, DONE, FAILED, RUNNING
from shared.lock import AlreadyRunning
from shared.printable import OneLine, filter_output
from shared.realtime import endpoint
from shared.signals import arm_signals
from shared.stage import Failure, Stage

#: The one stage that may keep the API key in its environment.
KEY_STAGE = "link"
#: How long a thread may compute before another one gets the interpreter, s. The default of 5 ms
#: would delay the callback of a sound device.
SWITCH_S = 0.0005
#: The most open files of a stage. The usual limit is 1024. Connections from strangers could use
#: that up before they are cut off (shared/bus/peers.py), and then link could not connect. systemd/
#: has the same number.
DESCRIPTORS = 8192


def set_up_log(level: str) -> logging.Logger:
    """Send the log to standard error, one line per record, and return it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s.%(msecs)03d %(levelname).1s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=getattr(logging, level.upper()), handlers=[handler], force=True)
    return logging.getLogger("bargein")


def _raise_descriptor_limit() -> None:
    """Allow this process DESCRIPTORS open files, or as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a second limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the command line that every stage has."""
    made = Parser(prog=f"bargein {name}", description=description, allow_abbrev=False)
    # For `bargein replay`: the descriptor of the pipe from which the messages come.
    made.add_argument("--replay", type=int, help=argparse.SUPPRESS)
    config.add_arguments(made)
    return made


def run(
    name: str,
    set_up: Callable[[Stage], object],
    description: str,
    list_devices: Callable[[], str] | None = None,
) -> int:
    """Run a stage from its command line to its end. Return its exit code.

    ``set_up`` subscribes, opens the stage's device and registers its timers. ``list_devices``
    returns the text that ``--list-devices`` prints; None: the stage has no such option.
    """
    filter_output()
    if name != KEY_STAGE:
        os.environ.pop(endpoint.KEY_VARIABLE, None)
    # Nobody else may read a lock, a socket or a recording.
    os.umask(0o077)
    _raise_descriptor_limit()
    started: list[Stage] = []

    def stop(reason: str, code: int) -> None:
        if not started:
            os._exit(code)
        if reason:
            started[0].log.warning("%s ends: %s", name, reason)
        started[0].stop(code)
        started[0].wake()

    def reload() -> None:
        if started:
            started[0].reload(lambda: config.load(arguments).config)

    arm_signals(stop, reload)
    arguments_parser = parser(name, description)
    if list_devices is not None:
        arguments_parser.add_argument(
            "--list-devices", action="store_true", help="list the devices, and start nothing"
        )
    arguments = arguments_parser.parse_args()
    if list_devices is not None and arguments.list_devices:
        print(list_devices())
        return DONE
    try:
        loaded = config.load(arguments)
        settings = loaded.config
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    log = set_up_log(settings.log.level)
    sys.setswitchinterval(SWITCH_S)
    try:
        if arguments.replay is None:
            stage = Stage(name, settings, log, loaded.home)
        else:
            # A conversation does not need this module.
            from shared.replayed import ReplayedStage  # noqa: PLC0415

            stage = ReplayedStage(name, settings, log, loaded.home, arguments.replay)
    except AlreadyRunning as error:
        log.error("%s", error)
        return RUNNING
    except config.ConfigError as error:
        log.error("%s", error)
        return BAD_CONFIG
    except BusError as error:
        log.error("%s", error)
        return FAILED
    started.append(stage)
    try:
        set_up(stage)
        return stage.loop()
    except AlreadyRunning as error:
        # The bus directory was emptied, and a second copy has taken this stage's place.
        log.error("%s", error)
        stage.close()
        return RUNNING
    except Failure as error:
        log.error("%s", error)
        stage.close()
        return FAILED
    except Exception:  # noqa: BLE001 - CRASHED says that starting the stage again may help
        traceback.print_exc()
        stage.close()
        return CRASHED
