"""``bargein control COMMAND``: send one command to the conversation, and print its outcome.

The exit code is 1 if the command was refused. The command goes through the door: docs/door.md.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from commands import description, door
from shared import config
from shared.command_line import Parser
from shared.printable import printable

#: The commands without an argument, and what each does.
PLAIN = {
    "interrupt": "end the assistant's reply",
    "talk": "press the button of push to talk (needs interruption.decide = push_to_talk)",
    "release": "release the button",
    "mute": "mute the microphone",
    "unmute": "open the microphone again",
    "sleep": "close the session, and keep the conversation",
    "wake": "open a session that goes on with the conversation",
    "stop": "end the conversation",
}


def _parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    config.add_arguments(common)
    parser = Parser(prog="bargein control", description=description(__doc__))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, does: str) -> argparse.ArgumentParser:
        text = f"{does[0].upper()}{does[1:]}."
        return commands.add_parser(name, parents=[common], help=does, description=text)

    for name, does in PLAIN.items():
        add(name, does)
    volume = add("volume", "set the volume of replies")
    volume.add_argument("value", type=int, metavar="PERCENT", help="0 (silent) to 100 (unchanged)")
    say = add("say", "let the assistant say a text")
    say.add_argument("text", metavar="TEXT", help="the text, in quotes")
    say.add_argument(
        "--role",
        choices=["user", "assistant", "system"],
        help="add the text to the conversation as an item of this role; nothing is said",
    )
    written = add("type", "write to the assistant")
    written.add_argument(
        "text", metavar="TEXT", help="your line, in quotes; the assistant answers it"
    )
    change = add("set", "change a setting of [session] until the conversation ends")
    change.add_argument("id", metavar="NAME", help="the setting, such as voice or speed")
    change.add_argument("text", metavar="VALUE", help="as in config.toml, without quotation marks")
    back = add("unset", "restore the value that a setting of [session] has in config.toml")
    back.add_argument("id", metavar="NAME", help="the setting")
    for name, does in (
        ("approve", "run a function call that waits for your approval"),
        ("deny", "refuse a function call that waits for your approval"),
    ):
        call = add(name, does)
        call.add_argument(
            "id",
            metavar="NUMBER",
            help="the number or the id of the call: the terminal of bin/start, bargein console and"
            " the page show the number",
        )
    return parser


def main() -> int:
    """Send one command; return the exit code."""
    arguments = _parser().parse_args()
    command: dict[str, Any] = {
        name: given
        for name in ("command", "text", "role", "id", "value")
        if (given := getattr(arguments, name, None)) is not None
    }
    try:
        directory = config.bus_directory(config.load(arguments).config)
        done, outcome = door.send(directory, command)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except door.NoDoor as error:
        print(f"control: {error}", file=sys.stderr)
        return 1
    print(printable(f"control: {outcome}"), file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
