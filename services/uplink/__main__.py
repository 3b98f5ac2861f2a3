"""What the server is told: the session, the microphone, and how far the person heard.

Only uplink sends events. It drops old microphone frames: missing speech is better than late speech.
"""

from __future__ import annotations

import time
from collections import deque

from services.uplink import requests
from services.uplink.microphone import GAP, Microphone
from services.uplink.replay import Replay
from services.uplink.reports import Reports
from services.uplink.talk import Talk
from shared import codec, messages
from shared.audio import pcm
from shared.bus import Delivery
from shared.run import run
from shared.stage import Stage

#: Playback answers a flush within a device buffer; one that has not by now is not there.
ANSWER_S = 0.5
#: The most flushes that wait for an answer: a server can report speech as often as it likes.
UNANSWERED = 64
#: An uplink that has just started waits this long for the history, which comes before all else.
HISTORY_S = 0.5
#: The microphone's last frame of a turn is here this long after the button was let go.
CLOSE_S = 0.2


class Uplink:
    """The client's side of the protocol, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._session = requests.in_force(stage.config)
        self._talk = Talk() if stage.config.interruption.decide == "push_to_talk" else None
        self._max_age_ns = stage.config.uplink.max_age_ms * 1_000_000
        self._mic = Microphone(self._max_age_ns)
        self._link: messages.LinkState | None = None
        self._reports = Reports(
            server_cancels=self._session.turn_detection.interrupt_response
            and self._session.turn_detection.type != "none"
        )
        self._replay = Replay()
        self._begun = 0  # the session that was given the history
        self._greet = False
        self._flushes: dict[int, tuple[messages.Flush, list[str]]] = {}  # with what was cancelled
        self._first_heard = False  # playback has said how far anything was heard
        self._reported: deque[int] = deque(maxlen=64)  # generations the server was told of
        self._decision: messages.TurnDecision | None = None
        self._removed: deque[str] = deque(maxlen=256)
        self._answered = 0
        stage.subscribe(messages.MicClean, self._on_mic)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.ReplyState, self._on_reply)
        stage.subscribe(messages.Transcript, lambda d: self._reports.transcript(d.message))
        stage.subscribe(messages.Flush, self._on_flush)
        stage.subscribe(messages.FlushReport, self._on_flush_report)
        stage.subscribe(messages.Heard, self._on_heard)
        stage.subscribe(messages.History, self._on_history)
        stage.subscribe(messages.TurnDecision, self._on_turn_decision)
        self._seen = b""  # the history last seen
        stage.state = "waiting for link"
        wanted = (self._session.voice, self._session.turn_detection.type)
        stage.log.info("voice %s, turn detection %s; waiting for link to open", *wanted)

    @property
    def _open(self) -> bool:
        return self._link is not None and self._link.state == "open"

    def _on_mic(self, delivery: Delivery[messages.MicClean]) -> None:
        frame = delivery.message
        missing = self._mic.missing(frame)
        if self._link is None or not self._open or self._begun != self._link.session:
            self._drop("frames_unsent", frame, missing)
            return
        if abs(time.monotonic_ns() - frame.captured_ns) > self._max_age_ns:
            warning = "microphone frames were too old to send (by uplink.max_age_ms): dropped"
            self._drop("frames_late", frame, missing, warning)
            return
        if missing:
            # the server's clock goes on as the microphone's
            silent = missing <= GAP and self._talk is None
            self._stage.count("frames_silent" if silent else "frames_lost", missing // pcm.FRAME)
            if silent:
                self._give(bytes(missing * pcm.SAMPLE_BYTES), frame.captured_ns)
        if self._talk is not None and not self._talk_takes(self._talk, frame):
            self._stage.counters["frames_held"] += 1
            return
        self._stage.counters["frames_sent"] += 1
        self._give(frame.payload, frame.captured_ns)

    def _drop(self, why: str, frame: messages.MicClean, missing: int, warning: str = "") -> None:
        self._stage.count(why, 1 + missing // pcm.FRAME, warning)
        if self._talk is None:
            # of a turn another session is to hear again it is a part
            self._mic.keep(frame.payload)

    def _give(self, captured: bytes, captured_ns: int) -> None:
        self._mic.keep(captured, captured_ns)
        self._send(requests.append(captured), captured_ns + self._max_age_ns)

    def _talk_takes(self, talk: Talk, frame: messages.MicClean) -> bool:
        if talk.over(frame.captured_ns):
            self._close_turn()
        return talk.takes(frame.captured_ns, len(frame.payload) // pcm.SAMPLE_BYTES)

    def _close_turn(self) -> None:
        if self._talk is not None and self._talk.closing:
            self._mic.turn_ends()
            self._send(requests.commit() if self._talk.close() == "commit" else requests.clear())

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        before, self._link = self._link, delivery.message
        link = self._link
        self._stage.state = f"link is {link.state}"
        if not self._open or (
            before is not None and before.session == link.session and before.state == "open"
        ):
            return
        self._send(requests.session_update(self._session))
        if self._talk is not None and (before is None or before.session != link.session):
            self._talk.anew()
        self._stage.log.info("session %d is open: told the server what we want", link.session)
        # an uplink that comes back in mid-conversation must not greet again
        self._greet = bool(self._session.greeting) and link.sent == 0
        self._replay.begin_session(link.session)
        if self._replay.turns is not None:
            self._begin(link.session)
        else:
            self._stage.after(HISTORY_S, lambda: self._begin(link.session))

    def _on_history(self, delivery: Delivery[messages.History]) -> None:
        payload = delivery.message.payload
        if self._replay.turns is None or payload != self._seen:
            try:
                self._replay.learn(codec.read_turns(payload))
            except codec.BadMessage as error:
                self._stage.count("bad_histories", warning=f"downlink's history: {error}")
                return
            self._seen = payload
            if self._link is not None and self._open:
                self._begin(self._link.session)
                self._restore()

    def _begin(self, session: int) -> None:
        """Give a session the conversation so far, before anything is said there."""
        if self._link is None or self._link.session != session or self._begun == session:
            return
        self._begun = session
        self._restore()
        if self._greet and not self._replay.begun:
            self._send(requests.greet(self._session.greeting))
        # of whoever is in mid-turn the server has to hear all of the turn
        again = self._mic.anew(session, time.monotonic_ns())
        for stretch in again:
            self._send(requests.append(stretch))
        samples = sum(map(len, again)) // pcm.SAMPLE_BYTES
        self._stage.counters["frames_again"] += samples // pcm.FRAME
        if self._talk is not None:
            self._talk.anew(samples)

    def _restore(self) -> None:
        events = self._replay.events()
        for event in events:
            self._send(event)
        if events:
            self._stage.counters["items_restored"] += len(events)
            self._stage.log.info("put the conversation so far back: %d events", len(events))

    def _on_reply(self, delivery: Delivery[messages.ReplyState]) -> None:
        self._mic.said(delivery.message)
        for request in self._reports.state(delivery.message):
            self._send(request)

    def _on_flush(self, delivery: Delivery[messages.Flush]) -> None:
        flush = delivery.message
        names = self._reports.cancels(flush)
        for name in names:
            self._send(requests.cancel(name))
        if flush.generation not in self._reported:
            self._flushes[flush.generation] = (flush, names)
            self._stage.after(ANSWER_S, lambda: self._give_up(flush.generation))
        if len(self._flushes) > UNANSWERED:
            self._give_up(next(iter(self._flushes)))

    def _on_heard(self, delivery: Delivery[messages.Heard]) -> None:
        heard = delivery.message
        self._reports.heard(heard)
        if not self._first_heard:
            # an uplink that died at an interruption has not told the server, or not for sure
            self._first_heard = True
            self._stage.after(ANSWER_S, lambda: self._tell_late(heard))

    def _tell_late(self, heard: messages.Heard) -> None:
        if self._link is not None and self._open:
            missed = self._reports.missed(heard, self._link.session)
            if missed is not None:
                self._report_flush(missed)

    def _give_up(self, generation: int) -> None:
        """Tell the server what is known of a flush that playback has not answered."""
        if generation in self._flushes:
            self._stage.count(
                "unanswered_flushes",
                warning="playback did not answer a flush: the server is told what was heard before",
            )
            self._report_flush(self._reports.unanswered(self._flushes[generation][0]))

    def _on_flush_report(self, delivery: Delivery[messages.FlushReport]) -> None:
        if self._link is None:
            # it waited for us: the server is told once we know of link
            self._stage.after(HISTORY_S, lambda: self._on_flush_report(delivery))
        else:
            self._report_flush(delivery.message)

    def _report_flush(self, flush_report: messages.FlushReport) -> None:
        if flush_report.generation in self._reported:
            return
        self._reported.append(flush_report.generation)
        flush, cancelled = self._flushes.pop(flush_report.generation, (None, []))
        counted = [i for i in flush.received if i.received] if flush else []
        known = {(i.item_id, i.content_index) for i in counted}
        sent, record = self._reports.flush_report(flush_report, cancelled, known)
        for request in sent:
            self._send(request)
        self._answer()
        if record.reports or cancelled:
            self._stage.publish(record)
            told = [
                f"heard {r.heard_ms / 1000:.2f} of {r.received_ms / 1000:.2f} s ({r.action})"
                for r in record.reports
            ] or [f"cancelled {len(cancelled)} responses"]
            what = "not heard to its end" if record.cause == "abandoned" else "interrupted"
            self._stage.log.info("%s: %s", what, ", ".join(told))

    def _on_turn_decision(self, delivery: Delivery[messages.TurnDecision]) -> None:
        before, self._decision = self._decision, delivery.message
        decision = self._decision
        if self._talk is not None and (
            before is None or (before.talk, before.talk_ns) != (decision.talk, decision.talk_ns)
        ):
            if decision.talk:
                self._talk.press(decision.talk_ns)
                self._mic.turn_begins()
                if before is not None:
                    # an uplink that comes back in mid-turn goes on with it
                    self._send(requests.clear())
            else:
                self._talk.let_go(decision.talk_ns or delivery.stamp.t)
                self._stage.after(CLOSE_S, self._close_turn)
        if self._link is None or decision.session != self._link.session:
            return
        for item_id in decision.unwanted:
            if item_id not in self._removed:
                self._removed.append(item_id)
                self._stage.counters["scraps"] += 1
                self._send(requests.delete(item_id))
        if decision.answer not in (0, self._answered):
            self._answer()
            # a flush that nobody here knows of is not waited for
            self._stage.after(ANSWER_S, lambda: self._answer(decision.answer))

    def _answer(self, anyway: int = 0) -> None:
        """Ask for the response that is wanted, once the server knows what it comes after."""
        decision = self._decision
        if decision is None or decision.answer in (0, self._answered):
            return
        if decision.after in (0, *self._reported) or decision.answer == anyway:
            self._answered = decision.answer
            self._send(requests.respond())

    def _send(self, event: bytes, expires_ns: int = 0) -> None:
        if self._link is None or not self._open:
            self._stage.count("events_unsent")
            return
        self._stage.publish(
            messages.ClientEvent(session=self._link.session, expires_ns=expires_ns, payload=event)
        )


def main() -> int:
    """Run the stage."""
    return run("uplink", Uplink, "Sends the microphone and the session's wishes to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
