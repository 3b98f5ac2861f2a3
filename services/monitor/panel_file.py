"""The person's switches on disk, for a monitor that is restarted."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared import messages
from shared.private import read_file, replace_own

NAME = "panel.json"


class Saved(msgspec.Struct, frozen=True):
    """The switches, and the conversation that they were set in."""

    panel: messages.Panel
    #: The epoch of the link that held the conversation; 0: there was none.
    link: int = 0


def read(directory: Path, volume: int) -> Saved:
    """Return the switches that an earlier monitor saved. ``volume``: the default, percent."""
    try:
        return msgspec.json.decode(read_file(directory / NAME), type=Saved)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return Saved(messages.Panel(volume=volume))


def write(directory: Path, saved: Saved) -> None:
    """Save the switches. Raises OSError."""
    replace_own(directory / NAME, msgspec.json.encode(saved))
