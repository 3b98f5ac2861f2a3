"""A person's commands as they come through the door, and why some are refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

import msgspec

from shared import messages
from shared.config import Config, ConfigError
from shared.realtime import changes

#: The stages that follow a command. Without one of them, nothing would come of it.
NEEDS = {
    "interrupt": ("downlink",),
    "talk": ("downlink", "uplink"),
    "release": ("downlink", "uplink"),
    "say": ("downlink", "uplink"),
    "type": ("downlink", "uplink"),
    "mute": ("echo",),
    "unmute": ("echo",),
    "volume": ("playback",),
    "sleep": ("downlink",),
    "wake": ("downlink",),
    "approve": ("tools",),
    "deny": ("tools",),
}
NEEDED = frozenset(stage for stages in NEEDS.values() for stage in stages)
#: The commands that monitor itself follows, with the panel or with signals.
OWN = ("mute", "unmute", "volume", "set", "unset", "stop")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command. docs/door.md describes each field."""

    command: Literal[
        "interrupt", "talk", "release", "mute", "unmute", "volume", "say", "type", "approve",
        "deny", "sleep", "wake", "set", "unset", "stop",
    ]  # fmt: skip
    text: messages.Text = ""
    role: Literal["", "user", "assistant", "system"] = ""
    id: messages.Name = ""
    value: int | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a command: whether it was done, and a line for a person."""

    done: bool
    outcome: str


class Refused(ValueError):
    """Raised when a command is not followed, with the reason."""


@dataclass
class Known:
    """The conversation as monitor knows it when a command comes."""

    #: The settings as monitor has read them, and what the person has changed of [session] since.
    config: Config
    changed: Mapping[str, str]
    #: The stages that have published their health lately.
    alive: Set[str]
    #: The stages that do not read commands at the moment: they are being started again, or monitor
    #: was, and has not received their health yet.
    away: Set[str]
    #: The state of the connection, as in LinkState; "" if link has not said it.
    link: str
    muted: bool
    #: The ids and the numbers of the calls that wait for a person's approval.
    calls: Set[str]


def away(command: Command, known: Known) -> str:
    """Return the stages that would miss a command if it was published now; "": none would."""
    return " and ".join(stage for stage in NEEDS.get(command.command, ()) if stage in known.away)


def check(command: Command, known: Known) -> None:
    """Raise Refused unless a command can be followed."""
    name, decide = command.command, known.config.interruption.decide
    expected = known.alive | known.away
    if missing := [stage for stage in NEEDS.get(name, ()) if stage not in expected]:
        raise Refused(f"{' and '.join(missing)} does not run: nothing would follow the command")
    if name in ("say", "type"):
        if not command.text.strip():
            raise Refused("there is no text")
        if known.link not in ("open", "asleep"):
            raise Refused(f"there is no connection to the server (link is {known.link or 'away'})")
    elif name in ("talk", "release") and decide != "push_to_talk":
        raise Refused(f"interruption.decide is {decide}: set it to push_to_talk to use the button")
    elif name == "talk" and known.muted:
        raise Refused("the microphone is muted: unmute it first")
    elif name in ("approve", "deny") and command.id not in known.calls:
        raise Refused(f"no call {command.id!r} waits for an approval")
    elif name == "volume" and (command.value is None or not 0 <= command.value <= 100):
        given = "there is no value" if command.value is None else f"volume {command.value} %"
        raise Refused(f"{given}: expected 0 to 100 percent")
    elif name == "unset" and command.id not in known.changed:
        raise Refused(f"{command.id or 'nothing'} was not changed")
    elif name in ("set", "unset"):
        try:
            changes.applied(known.config, after(command, known.changed))
        except ConfigError as error:
            raise Refused("; ".join(error.errors)) from None


def after(command: Command, changed: Mapping[str, str]) -> dict[str, str]:
    """Return the changed settings of [session] after a command ``set`` or ``unset``."""
    rest = {name: text for name, text in changed.items() if name != command.id}
    return rest if command.command == "unset" else {**rest, command.id: command.text}


def control(command: Command) -> messages.Control:
    """Return the message that carries a command to its stage; not for those in OWN."""
    return msgspec.convert(
        {
            "command": command.command,
            "text": command.text,
            "role": command.role,
            "id": command.id,
        },
        messages.Control,
    )
