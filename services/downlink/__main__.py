"""The downlink stage: replies to play, transcripts to show, and the flush that interrupts.

Only downlink interprets server events, and only downlink decides that the assistant is
interrupted. server_events.py lists what each server event changes; every flush, whatever its
cause, goes through ``Downlink.flush``.
"""

from __future__ import annotations

from services.downlink import commands, event_reader
from services.downlink.abandoned import Abandoned
from services.downlink.audio_item import BadAudio
from services.downlink.decisions import Decisions
from services.downlink.history import History
from services.downlink.history_file import HistoryFile
from services.downlink.history_keeper import HistoryKeeper
from services.downlink.limits import LimitWatch
from services.downlink.publishing import Publishing
from services.downlink.renewal import Moment, Renewal
from services.downlink.replies import Replies
from services.downlink.responses import REMEMBERED
from services.downlink.server_events import ServerEvents
from services.downlink.session_watch import SessionWatch
from services.downlink.sleeping import Sleeping
from services.downlink.usage_totals import UsageTotals
from shared import messages, now
from shared.bus import Delivery
from shared.config import masked_text
from shared.live_settings import follow_changes
from shared.numbers import Numbers
from shared.run import run
from shared.stage import Failure, Stage

#: How often a changed history is published, s.
HISTORY_EVERY_S = 0.5


class Downlink:
    """The stage that reads what the server sends."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        config = stage.config
        # Counts generations and answers. A restarted downlink is never behind the one before it.
        self._numbers = Numbers(stage.directory, "generation", unit_ns=1_000_000)
        first = self._numbers.next()
        self._replies = Replies(generation=first)
        self._history = History()
        self._renewal = Renewal(
            int(config.link.session_limit_s * 1000), int(config.link.renew_before_s * 1000)
        )
        self._abandoned = Abandoned()
        self._decide = config.interruption.decide
        self._decisions = Decisions(config, first)
        self._decision: messages.TurnDecision | None = None
        self._decision_due_ns = 0
        self._publishing = Publishing(stage, self._replies, self._history)
        file = HistoryFile(stage.directory, config.downlink.keep_history)
        self._history_keeper = HistoryKeeper(stage, file, self._history, self._publishing)
        self._session = SessionWatch(
            stage, config, self._replies, self._decisions, self._publishing.show, self._end
        )
        self._lost_ns = 0  # since when there is no connection, 0 while there is one
        limits = LimitWatch(config.limits)
        self._usage = UsageTotals(
            stage, config, lambda: limits.awake_ns(now.monotonic_ns()), now.date
        )
        self._sleeping = Sleeping(
            stage,
            limits,
            cut=lambda: self.flush("limit", now.monotonic_ns()),
            farewell=lambda: self._session.say_farewell(config.limits.farewell),
        )
        self._server_events = ServerEvents(
            self,
            self._replies,
            self._history,
            self._renewal,
            self._decisions,
            self._session,
            self._usage,
        )
        stage.subscribe(messages.ServerEvent, self._on_event)
        stage.subscribe(messages.Heard, self._on_heard)
        stage.subscribe(messages.FlushReport, self._on_flush_report)
        stage.subscribe(messages.Control, self._on_control)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.ToolState, self._on_tool_state)
        stage.every(HISTORY_EVERY_S, self._look_after_session)
        stage.subscribe(messages.Speech, self._on_speech)
        stage.subscribe(messages.Panel, follow_changes(stage, self._session.reload))
        self._publish_history()
        stage.state = "waiting for the server"
        stage.log.info("waiting for server events from link")

    # what server events make the stage do (see actions.py)

    def flush(self, cause: str, event_ns: int) -> None:
        """End the reply: the one way to flush, whatever the cause.

        ``event_ns``: see Flush. The flush is published before anything else, because the person
        hears each ms that it is late.
        """
        flush = self._replies.flush(cause, event_ns)
        self._stage.publish(flush)
        self._numbers.reached(flush.generation)
        self._history.flushed(flush)
        if cause != "abandoned":
            self._decisions.flushed(flush.generation, now.monotonic_ns())
        self._stage.counters["flushes"] += 1
        self._publishing.publish_state(now=True)
        # uplink needs the newest words to tell how many of them were heard.
        self._publishing.publish_texts()
        self.publish(self._decisions.calls.to_cancel(cause))

    def publish(self, outcome: list[messages.Message]) -> None:
        """Publish audio at once, and transcripts at once or soon."""
        self._publishing.publish(outcome)

    def publish_state(self) -> None:
        """Publish the state of the replies at once, if it changed."""
        self._publishing.publish_state()

    def follow_decisions(self, interrupts: bool) -> None:
        """Follow the decisions: flush if they interrupt, and publish them if they changed."""
        if interrupts:
            judged = self._decide == "client"
            self.flush("judged" if judged else "control", now.monotonic_ns())
        decision = self._decisions.decision()
        # With "server", no turn.decision is published until the first answer is asked for.
        unused = self._decide == "server" and not decision.answer and self._decision is None
        if decision != self._decision and not unused:
            if decision.judged == "scrap" and (
                self._decision is None or self._decision.onset_ns != decision.onset_ns
            ):
                self._stage.counters["scraps"] += 1
            self._decision = decision
            self._stage.publish(decision)
            self._numbers.reached(decision.answer)
        now_ns = now.monotonic_ns()
        due_ns = self._decisions.due_ns(now_ns)
        if due_ns and due_ns != self._decision_due_ns:
            self._decision_due_ns = due_ns
            self._stage.after((due_ns - now_ns) / 1e9, self._on_decision_due)

    def weigh(self) -> None:
        """Decide what can be decided by now, from the assistant's state and the time."""
        replies = self._replies
        self.follow_decisions(
            self._decisions.assistant(
                playing=replies.playing,
                generating=replies.responses.any_generating,
                active=replies.responses.any_active,
                now_ns=now.monotonic_ns(),
            )
        )

    def session_expires(self, at_s: int) -> None:
        """Note when the server ends the session, in seconds since 1970."""
        left_ns = at_s * 1_000_000_000 - now.time_ns()
        self._renewal.expires(now.monotonic_ns() + left_ns)

    def report(self, counter: str, line: str, *, always: bool = False) -> None:
        """Count what the server did, and log a line about it unless the line is empty.

        ``always``: log the line even if one of this counter was logged in the last ten seconds.
        """
        self._stage.count(counter, warning="" if always else masked_text(line))
        if always:
            self._stage.log.warning("%s", masked_text(line))

    # what comes over the bus

    def _on_event(self, delivery: Delivery[messages.ServerEvent]) -> None:
        message = delivery.message
        if message.session < self._replies.session:
            self._stage.count("events_of_older_sessions")
            return
        self._switch_session(message.session)
        try:
            event = event_reader.read(message.payload)
            self._server_events.read(event, message.received_ns, now.monotonic_ns())
        except (event_reader.BadEvent, BadAudio) as error:
            self._stage.count("bad_events", warning=f"the server sent {error}; skipped")
            return
        self._stage.counters["events"] += 1
        self._stage.counters["stale_samples"] = self._replies.stale
        counted = self._stage.counters["responses_dropped"]
        if dropped := self._replies.responses.dropped - counted:
            line = f"over {REMEMBERED} responses are under way: the oldest is ignored"
            self._stage.count("responses_dropped", dropped, line)
        self._publishing.publish_soon()

    def _on_heard(self, delivery: Delivery[messages.Heard]) -> None:
        heard = delivery.message
        self._history.heard(heard)
        samples = sum(item.heard for item in heard.items)
        self._renewal.playing(now.monotonic_ns(), playing=heard.playing, heard=samples)
        if heard.generation > self._replies.generation:
            self._publishing.publish_soon()
        self.publish(self._replies.heard(heard))
        self._numbers.reached(self._replies.generation)
        if self._abandoned.look(self._replies.unfinished(heard), now.monotonic_ns()):
            self.flush("abandoned", 0)
        self.weigh()

    def _on_flush_report(self, delivery: Delivery[messages.FlushReport]) -> None:
        self._history.flush_report(delivery.message)
        self.publish(self._replies.flush_report(delivery.message))
        self._publish_history()

    def _on_control(self, delivery: Delivery[messages.Control]) -> None:
        command, at_ns = delivery.message.command, delivery.stamp.t
        now_ns = now.monotonic_ns()
        try:
            commands.check(command, now_ns - at_ns, self._decide)
        except commands.CommandRefused as why:
            self._stage.count("commands_refused", warning=f"{command}: {why}")
        else:
            self._sleeping.command(command, at_ns, now_ns)
            busy = self._replies.playing or self._replies.responses.any_generating
            if self._decisions.command(command, at_ns, busy=busy):
                self.flush("control", at_ns)
        self.weigh()

    def _on_speech(self, delivery: Delivery[messages.Speech]) -> None:
        now_ns = now.monotonic_ns()
        self._sleeping.speech(delivery.message, now_ns)
        if self._decide == "client":
            self.follow_decisions(self._decisions.vad_reported(delivery.message, now_ns))

    def _on_tool_state(self, delivery: Delivery[messages.ToolState]) -> None:
        self._decisions.calls.listed(delivery.message, now.monotonic_ns())
        self.weigh()

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        link = delivery.message
        slept = link.state == "asleep" and not link.session
        self._history_keeper.go_on(delivery.stamp.epoch, slept=slept)
        self._usage.go_on(delivery.stamp.epoch, slept=slept)
        self._sleeping.link(link, now.monotonic_ns())
        if link.session:
            self._switch_session(link.session)
        if link.state == "open":
            self._renewal.begin_session(link.session, link.opened_ns)
        else:
            self._lost_ns = self._lost_ns or now.monotonic_ns()
            # uplink has to know what was heard in this session before the next one opens.
            self._publish_history()

    def _switch_session(self, session: int) -> None:
        if session <= self._replies.session:
            return
        lost_s = (now.monotonic_ns() - self._lost_ns) / 1e9 if self._lost_ns else 0.0
        self._lost_ns = 0
        lost_answer = self._session.lost_answer(lost_s)
        self._history.reply_state(self._replies.state())
        self._decisions.begin_session(session)
        self.publish(self._decisions.calls.begin_session(session))
        self._publishing.publish_soon()
        self.publish(self._replies.begin_session(session))
        self._history.begin_session(session)
        # The history first: uplink asks for the missing answer when the session has the history.
        self._publish_history()
        self._session.begin_session(session, lost_answer)
        self._usage.begin_session(session)

    def _publish_history(self) -> None:
        self._history_keeper.publish(self._replies.session)

    def _end(self, why: str) -> None:
        raise Failure(why)

    # by time

    def _on_decision_due(self) -> None:
        self._decision_due_ns = 0  # a timer that rings too soon sets the next one
        self.weigh()

    def _look_after_session(self) -> None:
        if not self._replies.nothing_begun:
            self._session.lost_answer_begun()
        self._publish_history()
        self._usage.tidy()
        now_ns = now.monotonic_ns()
        self._server_events.end_silent(now_ns)
        busy = self._renewal.somebody_speaks(now_ns)
        self._sleeping.step(now_ns, self._usage.cost_micros, busy=busy)
        if moment := self._renewal.moment(now_ns):
            renew = messages.Renew(session=self._renewal.session, forced=moment is Moment.FORCED)
            self._stage.publish(renew)


def main() -> int:
    """Run the stage."""
    return run("downlink", Downlink, "Turns server events into audio, transcripts and flushes.")


if __name__ == "__main__":
    raise SystemExit(main())
