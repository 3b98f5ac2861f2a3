"""The message with which a stage reports its health."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.messages.base import Count, Line, Message, Name


class Health(Message, frozen=True, kw_only=True):
    """A stage's own account of itself, published once a second by the stage's loop."""

    pid: Count
    """The process's id."""
    ok: bool
    """Whether the stage can do its work."""
    state: Line
    """What the stage is doing, for a person."""
    counters: dict[Name, Count]
    """How often something that should be noticed has happened since the stage started, by name."""
    received: dict[Name, Count] = {}
    """The messages that the stage has taken since it started, by topic. It has each topic that the
    stage reads, also those with no message. The names are without ``!``, also those of topics that
    the stage consumes."""
    silent: Annotated[list[Name], Meta(max_length=64)] = []
    """The topics on which messages should arrive and do not: a live topic without a message for
    3 s, or a state topic whose last message is more than 10 s old."""
    off_rate: Annotated[list[Name], Meta(max_length=64)] = []
    """The live topics whose rate was less than 0.8 or more than 1.2 of their nominal rate in the
    last 5 s. A silent topic is not listed."""
