"""The actions of the stage that a server event can lead to."""

from __future__ import annotations

from typing import Any, Protocol

from shared import messages


class Actions(Protocol):
    """The actions of the stage that a server event can lead to."""

    def flush(self, cause: str, event_ns: int) -> None:
        """End the reply. Every flush of the stage goes through this method."""

    def publish(self, outcome: list[messages.Message]) -> None:
        """Publish audio at once, and transcripts at once or soon."""

    def publish_state(self) -> None:
        """Publish the state of the replies at once, if it changed."""

    def follow_decisions(self, interrupts: bool) -> None:
        """Follow the decisions: flush if they interrupt, and publish them if they changed."""

    def weigh(self) -> None:
        """Decide what can be decided by now, from the assistant's state and the time."""

    def session_expires(self, at_s: int) -> None:
        """Note when the server ends the session, in seconds since 1970."""

    def report(self, counter: str, line: str, *, always: bool = False) -> None:
        """Count what the server did, and log a line about it unless the line is empty.

        ``always``: log the line even if one of this counter was logged in the last ten seconds.
        """


class UsageLog(Protocol):
    """The part of the usage totals that the server's reports go into."""

    def model(self, name: Any) -> None:
        """Note the model that the server says it runs."""

    def response(self, response_id: str, usage: Any) -> None:
        """Count a response."""

    def transcript(self, usage: Any) -> None:
        """Count the transcript of a turn."""
