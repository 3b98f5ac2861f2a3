"""Downlink's handling of server events, with its real parts and without a bus."""

from __future__ import annotations

from typing import Any

from harness.owner import StandIn
from services.downlink import events
from services.downlink.decisions import Decisions
from services.downlink.history import History
from services.downlink.renewal import Renewal
from services.downlink.replies import Replies
from services.downlink.server_events import ServerEvents
from services.downlink.session_watch import SessionWatch
from shared import messages
from shared.config import Config


class Reader:
    """Reads server events as downlink does if the server decides, and returns the messages."""

    def __init__(
        self,
        replies: Replies,
        history: History | None = None,
        renewal: Renewal | None = None,
        config: Config | None = None,
    ) -> None:
        self.replies = replies
        self.history = history or History()
        self.reported: list[tuple[str, str]] = []  # counters and log lines
        self._out: list[messages.Message] = []
        hour_ms = 3_600_000
        #: The stage, and what its health showed or its end said.
        self.stage = StandIn()
        self.shown: list[str] = []
        self.decisions = Decisions(config or Config(), 0)
        self.session = SessionWatch(
            self.stage,
            config or Config(),
            replies,
            self.decisions,
            show=self.shown.append,
            end=self.shown.append,
        )
        self._events = ServerEvents(
            self,
            replies,
            self.history,
            renewal or Renewal(hour_ms, 1),
            self.decisions,
            self.session,
            self,
        )

    def read(self, event: events.Event, received_ns: int = 0) -> list[messages.Message]:
        """Return the messages to which an event leads, in their order."""
        self._out = []
        self._events.read(event, received_ns, received_ns)
        return self._out

    def end_silent(self, now_ns: int) -> None:
        """End the responses that are silent for too long."""
        self._events.end_silent(now_ns)

    # The methods of actions.UsageLog: nothing is counted.

    def model(self, name: Any) -> None:
        """Do nothing."""

    def response(self, response_id: str, usage: Any) -> None:
        """Do nothing."""

    def transcript(self, usage: Any) -> None:
        """Do nothing."""

    # The methods of actions.Actions.

    def flush(self, cause: str, event_ns: int) -> None:
        flush = self.replies.flush(cause, event_ns)
        self.history.flushed(flush)
        self._out.append(flush)

    def publish(self, outcome: list[messages.Message]) -> None:
        for message in outcome:
            if isinstance(message, messages.Transcript):
                self.history.transcript(message)
        self._out += outcome

    def publish_state(self) -> None:
        """Do nothing: a caller that needs the state reads ``replies``."""

    def follow_decisions(self, interrupts: bool) -> None:
        assert not interrupts

    def weigh(self) -> None:
        """Do nothing: the server decides."""

    def session_expires(self, at_s: int) -> None:
        """Do nothing: no session is renewed."""

    def report(self, counter: str, line: str, *, always: bool = False) -> None:  # noqa: ARG002
        self.reported.append((counter, line))
