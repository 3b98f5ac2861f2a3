"""The message with which a stage reports its health."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.messages.base import Count, Line, Message, Name


class Health(Message, frozen=True, kw_only=True):
    """The health of a stage, which the stage's loop publishes once a second."""

    pid: Count
    """The process's id."""
    ok: bool
    """Whether the stage can do its work."""
    state: Line
    """What the stage is doing, for a person."""
    counters: dict[Name, Count]
    """The stage's counters by name: how often each event has happened since the stage started."""
    received: dict[Name, Count] = {}
    """How many messages the stage has received since it started, by topic. Each topic that the
    stage reads is listed, even without a message. The names have no ``!``, even of topics that the
    stage consumes."""
    silent: Annotated[list[Name], Meta(max_length=64)] = []
    """The topics from which messages should come and do not: a live topic without a message for 3
    s, or a state topic with a rate whose last message is more than 10 s old."""
    off_rate: Annotated[list[Name], Meta(max_length=64)] = []
    """The live topics whose rate was less than 0.8 or more than 1.2 of their nominal rate in the
    last 5 s. A silent topic is not listed."""
