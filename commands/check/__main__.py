"""``bargein check STAGE -- COMMAND…``: check which rules of a stage a program follows.

The check starts COMMAND as that stage on a private bus, plays the stage's neighbours, and prints
the outcome of each rule. docs/bus.md has the rules. COMMAND gets the bus directory in the
environment variable BARGEIN_BUS__DIRECTORY, and every other setting of config.toml in a variable of
its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from commands import description
from commands.check.bench import Bench
from commands.check.capture import Capture
from commands.check.common import LIMIT_S, Check
from commands.check.downlink import Downlink
from commands.check.echo import Echo
from commands.check.link import Link
from commands.check.playback import Playback
from commands.check.rules import Outcome, Verdict
from commands.check.uplink import Uplink
from commands.check.vad import Vad
from shared.command_line import Parser

CHECKS: dict[str, type[Check]] = {
    check.stage: check for check in (Capture, Echo, Vad, Uplink, Link, Downlink, Playback)
}


def check(
    stage: str,
    command: Sequence[str],
    *,
    own_only: bool = False,
    conversation: bool = True,
    limit_s: float = LIMIT_S,
) -> Iterator[Verdict]:
    """Check a command as a stage. Yield the verdict on each rule.

    ``own_only`` leaves out the rules that hold for every stage. ``conversation``: whether the stage
    also takes part in a conversation with the emulator. After ``limit_s`` seconds the remaining
    rules are not tried.
    """
    kind = CHECKS[stage]
    with Bench(stage, command) as bench:
        yield from kind(bench).run(own_only=own_only, conversation=conversation, limit_s=limit_s)


def main() -> int:
    """Run one check. Return 0 if no rule was broken."""
    parser = Parser(prog="bargein check", description=description(__doc__))
    parser.add_argument("stage", choices=CHECKS, help="the stage whose place COMMAND takes")
    parser.add_argument(
        "command", nargs="+", metavar="COMMAND", help="the program and its arguments, after --"
    )
    arguments = parser.parse_args()
    failed = 0
    try:
        for verdict in check(arguments.stage, arguments.command):
            print(verdict.line(), flush=True)
            failed |= verdict.outcome is Outcome.FAILED
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return failed


if __name__ == "__main__":
    sys.exit(main())
