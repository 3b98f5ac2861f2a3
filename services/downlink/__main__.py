"""What the server says: replies to play, transcripts to show, and the flush that interrupts.

The only stage that interprets server events, and the one that decides that the assistant is
interrupted. Everything but the log and the loop is in the modules beside this one.
"""

from __future__ import annotations

import time

from services.downlink import commands, events, failures
from services.downlink.abandoned import Abandoned
from services.downlink.decisions import Decisions, server_event
from services.downlink.history import History
from services.downlink.renewal import Renewal
from services.downlink.turns import BadAudio, Turns
from shared import codec, messages
from shared.bus import Delivery
from shared.config import masked_text
from shared.stage import Stage, run

#: How long the state, and texts that are not yet final, may be behind while audio comes.
STATE_S = 0.2
#: Letters of such texts published at once: each is told whole again with each of its words.
LETTERS_AT_ONCE = 60_000
#: How often the history is, and how long a downlink that starts waits for uplink's copy of it.
HISTORY_S, RELEARN_S = 0.5, 1.0


class Downlink:
    """The server's side of the protocol, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # from the clock, so that a restarted downlink is never behind the one before it
        first = time.time_ns() // 1_000_000
        decide = stage.config.interruption.decide
        self._turns = Turns(generation=first, interrupts=decide == "server")
        self._abandoned = Abandoned()
        self._history = History()
        self._learnt = False  # what of the history was known before this process began
        self._told = b"?"  # the history as last published
        self._looked = (0, b"")  # uplink's copy of it that was last looked at, in which session
        link = stage.config.link
        self._renewal = Renewal(int(link.session_limit_s * 1000), int(link.renew_before_s * 1000))
        self._decisions = Decisions(stage.config, first)
        self._decide = decide
        self._decision: messages.TurnDecision | None = None
        self._due_ns = 0
        self._shown: messages.ReplyState | None = None
        self._due = False  # it will be published soon
        self._failures = failures.Failures()
        self._texts: dict[str, messages.Transcript] = {}  # to be published, by item
        stage.subscribe(messages.ServerEvent, self._on_event)
        stage.subscribe(messages.Heard, self._on_heard)
        stage.subscribe(messages.FlushReport, self._on_flush_report)
        stage.subscribe(messages.Control, self._on_control)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.HistoryMirror, self._on_history_mirror)
        stage.every(HISTORY_S, self._look_after_session)
        stage.after(RELEARN_S, lambda: self._learn([]))
        if decide == "client":
            stage.subscribe(messages.Speech, self._on_speech)
        stage.state = "waiting for the server"
        stage.log.info("waiting for server events from link")

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        link = delivery.message
        if link.session:
            self._switch_session(link.session)
        if link.state == "open":
            self._renewal.begin_session(link.session, link.opened_ns)
        else:
            # before the next session is open, uplink is to know what was heard in this one
            self._publish_history()

    def _switch_session(self, session: int) -> None:
        if session <= self._turns.session:
            return
        self._history.state(self._turns.state())
        self._decisions.begin_session(session)
        self._publish_soon()
        self._say(self._turns.begin_session(session))
        self._history.begin_session(session)
        self._publish_history()

    def _on_history_mirror(self, delivery: Delivery[messages.HistoryMirror]) -> None:
        look = (self._turns.session, delivery.message.payload)
        if self._learnt and (look == self._looked or not self._history.elsewhere):
            return
        self._looked = look
        try:
            mirrored = codec.read_turns(delivery.message.payload)
        except codec.BadMessage as error:
            self._stage.count("bad_histories", warning=f"uplink's copy: {error}")
            return
        self._learn(mirrored)
        self._history.placed(mirrored)

    def _learn(self, mirrored: list[messages.Turn]) -> None:
        if not self._learnt:
            self._learnt = True
            self._history.relearn(mirrored)
            self._publish_history()

    def _on_heard(self, delivery: Delivery[messages.Heard]) -> None:
        self._history.heard(delivery.message)
        self._renewal.playing(time.monotonic_ns(), playing=delivery.message.playing)
        if delivery.message.generation > self._turns.generation:
            self._publish_soon()
        self._say(self._turns.heard(delivery.message))
        if self._abandoned.look(self._turns.unheard(delivery.message), time.monotonic_ns()):
            self._flush("abandoned", 0)
        self._weigh()

    def _on_flush_report(self, delivery: Delivery[messages.FlushReport]) -> None:
        self._history.flush_report(delivery.message)
        self._say(self._turns.flush_report(delivery.message))
        self._publish_history()

    def _on_control(self, delivery: Delivery[messages.Control]) -> None:
        command, at_ns = delivery.message.command, delivery.stamp.t
        try:
            commands.check(command, time.monotonic_ns() - at_ns, self._decide)
        except commands.CommandRefused as why:
            self._stage.count("commands_refused", warning=f"{command}: {why}")
        else:
            if command == "interrupt" or self._decisions.set_button(
                pressed=command == "talk", at_ns=at_ns
            ):
                self._flush("control", at_ns)
        self._weigh()

    def _on_speech(self, delivery: Delivery[messages.Speech]) -> None:
        self._judged(self._decisions.vad_reported(delivery.message, time.monotonic_ns()))

    def _flush(self, cause: str, event_ns: int) -> None:
        flush = self._turns.flush(cause, event_ns)
        self._stage.publish(flush)
        self._history.flushed(flush)
        if event_ns:  # somebody caused it
            self._decisions.flushed(flush.generation, time.monotonic_ns())
        self._stage.counters["flushes"] += 1
        self._publish_state()

    def _weigh(self) -> None:
        """Let the judge see what the assistant does, and decide what time alone decides."""
        turns = self._turns
        if self._decide == "server":
            return
        self._judged(
            self._decisions.assistant(
                playing=turns.playing,
                generating=turns.generating,
                active=turns.active,
                now_ns=time.monotonic_ns(),
            )
        )

    def _judged(self, interrupts: bool) -> None:
        """Do what was judged: be silent, and tell the others what is wanted."""
        if interrupts:
            judged = self._decide == "client"
            self._flush("judged" if judged else "control", time.monotonic_ns())
        decision = self._decisions.decision()
        if decision != self._decision:
            if decision.judged == "resume" and (
                self._decision is None or self._decision.onset_ns != decision.onset_ns
            ):
                self._stage.counters["resumes"] += 1
            self._decision = decision
            self._stage.publish(decision)
        now_ns = time.monotonic_ns()
        due_ns = self._decisions.due_ns(now_ns)
        if due_ns and due_ns != self._due_ns:
            self._due_ns = due_ns
            self._stage.after((due_ns - now_ns) / 1e9, self._on_due)

    def _on_due(self) -> None:
        # a timer that comes too soon sets another
        self._due_ns = 0
        self._weigh()

    def _on_event(self, delivery: Delivery[messages.ServerEvent]) -> None:
        message = delivery.message
        if message.session < self._turns.session:
            self._stage.count("events_of_older_sessions")
            return
        self._switch_session(message.session)
        try:
            event = events.read(message.payload)
            outcome = self._turns.read(event, message.received_ns)
        except (events.BadEvent, BadAudio) as error:
            self._stage.count("bad_events", warning=f"the server sent {error}; skipped")
            return
        self._say(outcome)
        for out in outcome:
            if isinstance(out, messages.Flush):
                self._history.flushed(out)
            elif isinstance(out, messages.Transcript):
                self._history.transcript(out)
        self._history.read(event)
        self._renewal.read(event, message.received_ns)
        if self._decide != "server":
            self._judged(server_event(self._decisions, event, time.monotonic_ns()))
        self._stage.counters["events"] += 1
        self._stage.counters["stale_samples"] = self._turns.stale
        self._publish_soon()
        match event:
            case events.SessionCreated(events.SessionTerms(int() as at)):
                left_ns = int((at - time.time()) * 1e9)
                self._renewal.expires(time.monotonic_ns() + left_ns)
            case events.ErrorEvent():
                self._show(event.error)
            case events.Unknown():
                self._stage.count(
                    "unknown_events",
                    warning=f"unknown event {event.type!r} from the server, skipped",
                )
            case events.SpeechStarted():
                self._stage.counters["flushes"] += self._turns.interrupts
                self._publish_state()
                # what was heard is soon told in words
                self._publish_texts()
            case events.ResponseCreated() | events.ResponseDone() | events.AudioDone():
                self._weigh()
                self._publish_state()
                if isinstance(event, events.ResponseDone) and (
                    why := failures.failed(event.response)
                ):
                    self._show(why)
            case events.ItemTruncated() | events.ItemDeleted():
                self._publish_state()

    def _show(self, error: events.Failure) -> None:
        name, line = self._failures.told(error)
        self._stage.count(name, warning=masked_text(line))

    def _say(self, outcome: list[messages.Message]) -> None:
        for message in outcome:
            if isinstance(message, messages.Transcript) and not message.final:
                self._texts[message.item_id] = message
                self._publish_soon()
                continue
            if isinstance(message, messages.Transcript):
                self._texts.pop(message.item_id, None)
            self._stage.publish(message)

    def _publish_texts(self) -> None:
        letters = 0
        while self._texts and letters < LETTERS_AT_ONCE:
            item_id = next(iter(self._texts))
            text = self._texts.pop(item_id)
            letters += len(text.text)
            self._stage.publish(text)
        if self._texts:
            self._publish_soon()

    def _publish_soon(self) -> None:
        if not self._due:
            self._due = True
            self._stage.after(STATE_S, self._publish_due)

    def _publish_due(self) -> None:
        self._due = False
        self._publish_state()
        self._publish_texts()

    def _publish_state(self) -> None:
        state = self._turns.state()
        if state != self._shown:
            self._shown = state
            self._history.state(state)
            active = f"{len(state.active)} responses under way" if state.active else "listening"
            self._stage.state = active if state.session else "waiting for the server"
            self._stage.publish(state)

    def _publish_history(self) -> None:
        if not (self._learnt and self._history.changed):
            return
        told = codec.write_turns(self._history.turns())
        if told != self._told:
            self._told = told
            self._stage.publish(messages.History(session=self._turns.session, payload=told))

    def _look_after_session(self) -> None:
        self._publish_history()
        if moment := self._renewal.moment(time.monotonic_ns()):
            renew = messages.Renew(session=self._renewal.session, forced=moment == "forced")
            self._stage.publish(renew)


def main() -> int:
    """Run the stage."""
    return run("downlink", Downlink, "Turns server events into audio, transcripts and flushes.")


if __name__ == "__main__":
    raise SystemExit(main())
