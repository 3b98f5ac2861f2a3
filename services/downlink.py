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
from shared.realtime.judge import Judge
from shared.realtime.turns import BadAudio, Turns

#: How often the state is published while audio comes.
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
        first = time.time_ns() // 1_000_000
        decide = stage.config.interruption.decide
        self._turns = Turns(generation=first, interrupts=decide == "server")
        self._judge = Judge(stage.config, first)
        self._judges = decide != "server"
        self._verdict: m.Verdict | None = None
        self._due_ns = 0
        self._shown: m.ReplyState | None = None
        self._codes: set[str] = set()
        stage.subscribe(m.ServerEvent, self._on_event)
        stage.subscribe(m.Heard, self._on_heard)
        stage.subscribe(m.Silenced, self._on_silenced)
        stage.subscribe(m.Control, self._on_control)
        stage.subscribe(m.LinkState, self._on_link)
        if decide == "client":
            stage.subscribe(m.Speech, self._on_speech)
        stage.every(STATE_S, self._publish_state)
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
            self._judge.connected(session)
        for message in self._turns.connected(session):
            self._stage.publish(message)

    def _on_heard(self, delivery: Delivery[m.Heard]) -> None:
        for out in self._turns.heard(delivery.message):
            self._stage.publish(out)
        self._weigh()

    def _on_silenced(self, delivery: Delivery[m.Silenced]) -> None:
        for out in self._turns.silenced(delivery.message):
            self._stage.publish(out)

    def _on_control(self, delivery: Delivery[m.Control]) -> None:
        command, at_ns = delivery.message.command, delivery.stamp.t
        if command == "interrupt":
            self._flush("control", at_ns)
        elif self._judge.decide != "push_to_talk":
            self._stage.count(
                "commands_refused",
                warning=f"{command}: only with interruption.decide = push_to_talk",
            )
        elif self._judge.talk(talking=command == "talk", at_ns=at_ns):
            self._flush("control", at_ns)
        self._weigh()

    def _on_speech(self, delivery: Delivery[m.Speech]) -> None:
        self._judged(self._judge.hear(delivery.message, time.monotonic_ns()))

    def _flush(self, cause: str, event_ns: int) -> None:
        flush = self._turns.flush(cause, event_ns)
        self._stage.publish(flush)
        self._judge.flushed(flush.generation, time.monotonic_ns())
        self._stage.counters["flushes"] += 1
        self._publish_state()

    def _weigh(self) -> None:
        """Let the judge see what the assistant does, and decide what time alone decides."""
        turns = self._turns
        if not self._judges:
            return
        self._judged(
            self._judge.assistant(
                playing=turns.playing,
                generating=turns.generating,
                active=turns.active,
                now_ns=time.monotonic_ns(),
            )
        )

    def _judged(self, interrupts: bool) -> None:
        """Do what was judged: be silent, and tell the others what is wanted."""
        if interrupts:
            judged = self._judge.decide == "client"
            self._flush("judged" if judged else "control", time.monotonic_ns())
        verdict = self._judge.verdict()
        if verdict != self._verdict:
            if verdict.judged == "resume" and (
                self._verdict is None or self._verdict.onset_ns != verdict.onset_ns
            ):
                self._stage.counters["resumes"] += 1
            self._verdict = verdict
            self._stage.publish(verdict)
        now_ns = time.monotonic_ns()
        due_ns = self._judge.due_ns(now_ns)
        if due_ns and due_ns != self._due_ns:
            self._due_ns = due_ns
            self._stage.after((due_ns - now_ns) / 1e9, self._on_due)

    def _on_due(self) -> None:
        # a timer that comes too soon sets another
        self._due_ns = 0
        self._weigh()

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
        if self._judges:
            self._judged(self._judge.read(event, time.monotonic_ns()))
        self._stage.counters["events"] += 1
        self._stage.counters["stale_samples"] = self._turns.stale
        match event:
            case e.ErrorEvent():
                self._show(event.error)
            case e.Unknown():
                self._stage.count(
                    "unknown_events",
                    warning=f"unknown event {event.type!r} from the server, skipped",
                )
            case e.SpeechStarted():
                self._stage.counters["flushes"] += self._turns.interrupts
                self._publish_state()
            case e.ResponseCreated() | e.ResponseDone() | e.AudioDone():
                self._weigh()
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
