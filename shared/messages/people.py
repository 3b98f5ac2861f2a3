"""Messages that carry a person's commands, and the positions of the person's switches."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from shared.messages.base import Message, Name, Text

#: The longest value of a setting that a person changes while a conversation runs, characters.
#: Twelve settings of this length fit into a header of 1 MiB.
MAX_CHANGE = 16 * 1024


#: The commands that wake a conversation that sleeps. They call off a sleep that has not begun.
WAKERS = frozenset({"wake", "talk", "say", "type"})


class Control(Message, frozen=True, kw_only=True):
    """A person's command. Only monitor publishes commands: see docs/door.md.

    The microphone's mute, the volume and the settings are not commands but a state, which a
    restarted stage has to learn: see Panel.
    """

    command: Literal[
        "interrupt", "talk", "release", "say", "type", "approve", "deny", "sleep", "wake"
    ]
    """``interrupt``: stop the reply; ``talk`` and ``release``: press and release the button of push
    to talk; ``say``: the assistant says ``text``, or with ``role`` the text becomes a part of the
    conversation; ``type``: the person writes ``text``, which interrupts the reply and gets an
    answer; ``approve`` and ``deny``: let the call ``id`` run, or refuse it; ``sleep`` and ``wake``:
    close the session, and open one again."""
    text: Text = ""
    """``say`` and ``type``: the text."""
    role: Literal["", "user", "assistant", "system"] = ""
    """``say``: whose text it is; empty: the assistant says the text."""
    id: Name = ""
    """``approve`` and ``deny``: the number of the call, or its id (see ToolRun); empty: the one
    call that waits."""


class Panel(Message, frozen=True, kw_only=True):
    """The positions of the person's switches."""

    muted: bool = False
    """Whether the microphone is muted. Then echo publishes silence."""
    volume: Annotated[int, Meta(ge=0, le=100)] = 100
    """How loud playback plays, percent; 100: as loud as the server sent the reply."""
    session: Annotated[
        dict[Name, Annotated[str, Meta(max_length=MAX_CHANGE)]], Meta(max_length=12)
    ] = {}
    """The settings of ``[session]`` that the person has changed until the conversation ends: by
    name (``speed``, ``turn_detection.threshold``), the value as on a command line."""
