"""What the server says: replies to play, transcripts to show, and the flush that interrupts.

The only stage that interprets server events, and the one that decides that the assistant is
interrupted. Everything but the log and the loop is in ``shared.realtime``.
"""

from __future__ import annotations

import time

from shared import messages as m
from shared import stage as s
from shared.bus import Delivery
from shared.config import masked_text
from shared.realtime import events as e
from shared.realtime.turns import BadAudio, Turns

#: How long the state may be behind, while audio comes.
STATE_S = 0.1

#: Errors that are races of a healthy conversation, not faults: counted, not shown.
BENIGN_CODES = frozenset(
    {
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
    }
)
#: Errors that a close follows: link says what to do about them, once.
FATAL_CODES = frozenset(
    {"invalid_api_key", "missing_model", "invalid_model", "beta_api_shape_disabled"}
)
#: A server may make up ever new codes: so many are counted apart.
MAX_CODES = 50
BENIGN_TEXTS = ("is already shorter than", "Only model output audio messages can be truncated")


def benign(error: e.Failure) -> bool:
    """Say whether an error is the outcome of a race that loses nothing."""
    return error.code in BENIGN_CODES or any(text in error.text for text in BENIGN_TEXTS)


class Downlink:
    """The server's side of the protocol, as a stage."""

    def __init__(self, stage: s.Stage) -> None:
        self._stage = stage
        # from the clock, so that a restarted downlink is never behind the one before it
        self._turns = Turns(generation=time.time_ns() // 1_000_000)
        self._shown: m.ReplyState | None = None
        self._due = False  # it will be published soon
        self._codes: set[str] = set()
        stage.subscribe(m.ServerEvent, self._on_event)
        stage.subscribe(m.Heard, self._on_heard)
        stage.subscribe(m.Silenced, self._on_silenced)
        stage.subscribe(m.Control, self._on_control)
        stage.subscribe(m.LinkState, self._on_link)
        stage.state = "waiting for the server"
        stage.log.info("waiting for server events from link")

    def _on_link(self, delivery: Delivery[m.LinkState]) -> None:
        link = delivery.message
        if link.session:
            self._connected(link.session)

    def _connected(self, session: int) -> None:
        if session < self._turns.session:
            return
        if session != self._turns.session:
            self._publish_soon()
        for message in self._turns.connected(session):
            self._stage.publish(message)

    def _on_heard(self, delivery: Delivery[m.Heard]) -> None:
        if delivery.message.generation > self._turns.generation:
            self._publish_soon()
        for out in self._turns.heard(delivery.message):
            self._stage.publish(out)

    def _on_silenced(self, delivery: Delivery[m.Silenced]) -> None:
        for out in self._turns.silenced(delivery.message):
            self._stage.publish(out)

    def _on_control(self, delivery: Delivery[m.Control]) -> None:
        if delivery.message.command == "interrupt":
            self._stage.publish(self._turns.flush("control", delivery.stamp.t))
            self._stage.counters["flushes"] += 1
            self._publish_state()

    def _on_event(self, delivery: Delivery[m.ServerEvent]) -> None:
        message = delivery.message
        self._connected(message.session)
        try:
            event = e.read(message.payload)
            outcome = self._turns.read(event, message.received_ns)
        except (e.BadEvent, BadAudio) as error:
            self._stage.count("bad_events", warning=f"the server sent {error}; skipped")
            return
        for out in outcome:
            self._stage.publish(out)
        self._stage.counters["events"] += 1
        self._stage.counters["stale_samples"] = self._turns.stale
        self._publish_soon()
        match event:
            case e.ErrorEvent():
                self._show(event.error)
            case e.Unknown():
                self._stage.count(
                    "unknown_events",
                    warning=f"unknown event {event.type!r} from the server, skipped",
                )
            case e.SpeechStarted():
                self._stage.counters["flushes"] += 1
                self._publish_state()
            case e.ResponseCreated() | e.ResponseDone() | e.AudioDone():
                self._publish_state()
                if isinstance(event, e.ResponseDone):
                    self._show_failed(event.response)
            case e.ItemTruncated() | e.ItemDeleted():
                self._publish_state()

    def _show(self, error: e.Failure) -> None:
        if benign(error):
            self._stage.count("benign_errors")
            return
        if error.code in FATAL_CODES:
            self._stage.count(f"error.{error.code}")
            return
        code = (error.code or error.type or "error")[:100]
        where = f" ({error.param[:100]})" if error.param else ""
        if len(self._codes) < MAX_CODES:
            self._codes.add(code)
        self._stage.count(
            f"error.{code if code in self._codes else 'other'}",
            warning=masked_text(f"the server says {code}{where}: {error.text[:500]}"),
        )

    def _show_failed(self, response: e.Response) -> None:
        details = response.status_details
        if response.status == "failed":
            self._show((details and details.error) or e.Failure("the response failed"))

    def _publish_soon(self) -> None:
        if not self._due:
            self._due = True
            self._stage.after(STATE_S, self._publish_due)

    def _publish_due(self) -> None:
        self._due = False
        self._publish_state()

    def _publish_state(self) -> None:
        state = self._turns.state()
        if state != self._shown:
            self._shown = state
            active = f"{len(state.active)} responses under way" if state.active else "listening"
            self._stage.state = active if state.session else "waiting for the server"
            self._stage.publish(state)


def main() -> int:
    """Run the stage."""
    return s.run("downlink", Downlink, "Turns server events into audio, transcripts and flushes.")


if __name__ == "__main__":
    raise SystemExit(main())
