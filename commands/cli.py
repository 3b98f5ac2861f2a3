"""``bargein COMMAND …``: the entry point for every command and for every stage.

The module of a command is looked up in a table and is imported only when that command runs. A stage
runs in this process, as ``python -m services.<stage>`` would run it.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shared import registry
from shared.printable import filter_output
from shared.redaction import shown

#: The exit code for a command line that cannot be read, as argparse has it.
BAD_COMMAND_LINE = 2


class Row(NamedTuple):
    """One command of ``bargein``."""

    module: str
    #: The help text of the command. A stage has none: its own help describes it.
    summary: str = ""


#: The commands that are not stages, in the order in which the help text shows them. A new command
#: is one row here and one module with a function ``main`` in this package.
COMMANDS = {
    "demo": Row("commands.demo", "talk with an emulator of the server; needs no key, no network"),
    "start": Row("commands.start", "talk with the real server; needs an API key"),
    "stop": Row("commands.stop", "end the conversation, or some of its stages"),
    "restart": Row("commands.restart", "start one stage again while the conversation goes on"),
    "reload": Row("commands.reload", "apply a change of [session] to the running conversation"),
    "tap": Row("commands.tap", "show the health of the stages, or the messages on the bus"),
    "report": Row("commands.report", "make one page of a recording: times, transcript, sound"),
    "replay": Row("commands.replay", "play a recording again, and run real stages on it"),
    "check": Row("commands.check", "report which of the rules of a stage a program follows"),
    "console": Row("commands.console", "show the conversation, with keys and a line to type in"),
    "control": Row(
        "commands.control", "send a command: interrupt the assistant, mute, type, and others"
    ),
    "watch": Row("commands.watch", "print the conversation's states, words and interruptions"),
    "config": Row("commands.config", "print every setting in force and where its value came from"),
    "doctor": Row("commands.doctor", "check the devices, the network and the key; say what to do"),
    "devices": Row("commands.devices", "list the microphones and speakers"),
    "keys": Row("commands.keys", "make the key for a bus that spans two machines"),
    "preflight": Row("commands.preflight", "check the settings and the API key; start nothing"),
}

#: Services that run as a stage does but have no row in the registry of stages.
SERVICES = ("emulator",)

#: The commands that run one service each, named after it.
STAGES = {name: Row(f"services.{name}") for name in (*registry.PROCESSES, *SERVICES)}

ROWS = {**COMMANDS, **STAGES}


def usage() -> str:
    """Return the help text."""
    rows = "\n".join(f"  {name:<10} {row.summary}" for name, row in COMMANDS.items())
    return f"""\
usage: bargein COMMAND …

commands:
{rows}

one stage, or the emulator, alone:
  {" ".join(STAGES)}

'bargein COMMAND --help' describes a command and its options."""


def unknown(name: str) -> str:
    """Return the line to print for a name that is no command."""
    near = difflib.get_close_matches(name, ROWS, n=1)
    hint = f": did you mean '{near[0]}'?" if near else "."
    return f"bargein: no command {shown(repr(name))}{hint} The commands are {', '.join(ROWS)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names; return its exit code.

    A command usually ends by raising SystemExit with its exit code.
    """
    filter_output()
    line = list(sys.argv[1:] if arguments is None else arguments)
    if not line:
        print(usage(), file=sys.stderr)
        return BAD_COMMAND_LINE
    name, *rest = line
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name not in ROWS:
        print(unknown(name), file=sys.stderr)
        return BAD_COMMAND_LINE
    sys.argv[1:] = rest
    runpy.run_module(ROWS[name].module, run_name="__main__", alter_sys=True)
    return 0
