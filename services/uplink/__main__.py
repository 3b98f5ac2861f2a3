"""The uplink stage: every event for the server comes from uplink, and link sends it.

Uplink writes the session's settings, the conversation so far, the microphone, and how far the
person heard each reply. Old microphone frames are dropped: missing speech is better than late
speech.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.uplink import no_effect, requests
from services.uplink.button import Button
from services.uplink.decision_requests import DecisionRequests
from services.uplink.functions import Functions
from services.uplink.interruptions import REPORT_S, Interruptions
from services.uplink.lost_turn import LostTurn
from services.uplink.microphone import GAP, Microphone
from services.uplink.restoration import Restoration
from services.uplink.texts import Texts
from services.uplink.updates import Updates
from services.uplink.voice_rate import VoiceRate
from shared import codec, messages, now
from shared.audio import pcm
from shared.bus import Delivery
from shared.config import Config
from shared.live_settings import follow_changes
from shared.realtime import session
from shared.run import run
from shared.stage import Stage

#: How long uplink waits for downlink's history, s. A session gets it right after session.update.
HISTORY_WAIT_S = 0.5
#: How often uplink checks whether link's state has come, while a flush report waits for it, s.
LINK_S = 0.5


class Uplink:
    """The stage that speaks to the server."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = session.in_force(stage.config)
        self._updates = Updates(self._settings, stage.log.warning)
        self._max_age_ns = stage.config.uplink.max_age_ms * 1_000_000
        by_button = stage.config.interruption.decide == "push_to_talk"
        # A turn of push to talk is sent again for as long as `session.resume_within_s`.
        patience_ns = int(self._settings.resume_within_s * 1e9) if by_button else 0
        self._mic = Microphone(max(self._max_age_ns, patience_ns))
        self._restoration = Restoration()
        parts = (self._mic, self._send, self._is_ready, self._restoration)
        self._button = Button(stage, *parts) if by_button else None
        remembered = (self._mic, self._restoration, self._updates)
        again = (self._restore, self._send_audio_again)
        self._lost_turn = LostTurn(stage, remembered, self._send, *again)
        self._voice_rate = VoiceRate(self._settings.input_rate)
        self._link: messages.LinkState | None = None
        cancels = session.server_cancels(self._settings)
        self._interruptions = Interruptions(
            stage, self._send, self._ask, self._open_session, server_cancels=cancels
        )
        self._functions = functions = Functions(
            stage, self._updates, self._send, self._open_session, now.monotonic_ns
        )
        self._decision_requests = DecisionRequests()
        self._texts = Texts(
            stage.next_number,
            self._send,
            lambda: functions.settled and self._is_ready(),
            self._restoration.has_begun,
        )
        functions.wait(stage.home, self._texts.send)
        self._ready_session = 0  # the session that has the history, and may get the microphone
        stage.subscribe(messages.MicClean, self._on_mic)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.ReplyState, self._on_reply_state)
        stage.subscribe(messages.Transcript, lambda d: self._interruptions.transcript(d.message))
        stage.subscribe(messages.Flush, lambda d: self._interruptions.flush(d.message))
        stage.subscribe(messages.FlushReport, self._on_flush_report)
        stage.subscribe(messages.Heard, self._on_heard)
        stage.subscribe(messages.History, self._on_history)
        stage.subscribe(messages.TurnDecision, self._on_turn_decision)
        stage.subscribe(messages.SessionRequest, self._on_session_request)
        stage.subscribe(messages.Control, lambda d: self._texts.follow(d.message))
        stage.subscribe(messages.Sleep, lambda d: self._mic.sleep(d.message))
        stage.subscribe(messages.ToolOffer, lambda d: functions.offer(d.message))
        stage.subscribe(messages.ToolResult, lambda d: functions.result(d.message, d.stamp))
        stage.subscribe(messages.ToolState, lambda d: functions.state(d.message))
        stage.subscribe(messages.Panel, follow_changes(stage, self._reload))
        stage.state = "waiting for link"
        stage.log.info("%s; waiting for link to open", session.summary(self._settings))
        no_effect.warn(stage.config, stage.log.warning)

    # the session

    def _reload(self, config: Config) -> None:
        """Follow a change of the settings: send the changed settings to the running session."""
        self._settings, said = session.reloaded(self._settings, session.in_force(config))
        updates = self._updates.reload(self._settings)
        self._stage.log.info("%s", said)
        no_effect.warn(config, self._stage.log.warning)
        if self._open_session():
            self._send_all(updates)

    @property
    def _open(self) -> bool:
        return self._link is not None and self._link.state == "open"

    def _open_session(self) -> int:
        return self._link.session if self._link is not None and self._open else 0

    def _is_ready(self) -> bool:
        """Whether a session is open that has the conversation."""
        return self._ready_session == self._open_session() != 0

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        before = self._link
        link = self._link = delivery.message
        self._functions.show(link.state)
        same = before is not None and before.session == link.session
        if not self._open or (same and before is not None and before.state == "open"):
            return
        self._send_all(self._updates.all())
        self._stage.log.info("session %d is open: sent the server the settings", link.session)
        # An uplink that is restarted during a conversation must not greet again.
        self._texts.begin_session(self._settings.greeting if link.sent == 0 else "")
        self._restoration.begin_session(link.session)
        if self._restoration.turns is not None:
            self._begin(link.session)
        else:
            self._stage.after(HISTORY_WAIT_S, lambda: self._begin(link.session))

    def _on_session_request(self, delivery: Delivery[messages.SessionRequest]) -> None:
        request = self._updates.request = delivery.message
        self._voice_rate.set(request.input_rate)
        if self._link is None or not self._open or request.session != self._link.session:
            return
        self._send_all(self._updates.again() + self._updates.farewell())
        self._functions.show(self._link.state)
        self._lost_turn.ask_again(self._ready_session)

    def _on_history(self, delivery: Delivery[messages.History]) -> None:
        try:
            if not self._restoration.read(delivery.message.payload):
                return
        except codec.BadMessage as error:
            self._stage.count("bad_histories", warning=f"downlink's history: {error}")
            return
        self._functions.history(self._restoration.turns or [])
        if self._link is not None and self._open:
            self._begin(self._link.session)
            self._restore()

    def _begin(self, number: int) -> None:
        """Send a new session what it needs before the microphone, first the conversation so far."""
        if self._link is None or self._link.session != number or self._ready_session == number:
            return
        self._ready_session = number
        if self._button is not None:
            self._button.begin_session()
        self._restore()
        self._functions.begin(number)
        samples = self._send_audio_again(self._mic.begin_session(number, now.monotonic_ns()))
        if samples:
            self._lost_turn.settle(number)  # The turn is sent again, and will be answered.
        if self._button is not None:
            self._button.heard_again(samples)
        self._lost_turn.ask_again(number)
        self._texts.send()
        self._ask_in_time()

    def _send_audio_again(self, chunks: list[bytes]) -> int:
        """Send audio that the session has to hear again. Return its length, samples."""
        self._send_all(requests.append(self._voice_rate.convert(chunk)) for chunk in chunks)
        samples = sum(map(len, chunks)) // pcm.SAMPLE_BYTES
        self._stage.counters["frames_again"] += samples // pcm.FRAME
        return samples

    def _restore(self) -> None:
        events = self._restoration.requests()
        self._send_all(events)
        if events:
            self._stage.counters["restore_events"] += len(events)
            self._stage.log.info("restored the conversation: %d events", len(events))

    def _send_all(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._send(event)

    def _send(self, event: bytes, expires_ns: int = 0) -> None:
        if self._link is None or not self._open:
            self._stage.count("events_unsent")
            return
        self._stage.publish(
            messages.ClientEvent(session=self._link.session, expires_ns=expires_ns, payload=event)
        )

    # the microphone

    def _on_mic(self, delivery: Delivery[messages.MicClean]) -> None:
        frame = delivery.message
        missing = self._mic.missing_before(frame)
        if not self._is_ready():
            self._skip("frames_unsent", frame, missing)
            return
        if abs(now.monotonic_ns() - frame.captured_ns) > self._max_age_ns:
            warning = "microphone frames were too old to send (by uplink.max_age_ms): dropped"
            self._skip("frames_late", frame, missing, warning)
            return
        if missing:
            # Silence in their place keeps the server's count of samples equal to the microphone's.
            silent = missing <= GAP and self._button is None
            self._stage.count("frames_silent" if silent else "frames_lost", missing // pcm.FRAME)
            if silent:
                self._append(bytes(missing * pcm.SAMPLE_BYTES), frame.captured_ns)
        if self._button is not None and not self._button.take(frame):
            self._stage.counters["frames_outside_turn"] += 1
            return
        self._stage.counters["frames_sent"] += 1
        self._append(frame.payload, frame.captured_ns)

    def _skip(self, why: str, frame: messages.MicClean, missing: int, warning: str = "") -> None:
        self._stage.count(why, 1 + missing // pcm.FRAME, warning)
        if self._button is None or self._button.keeps(frame):
            # Keep the frame: if the person is speaking, the next session needs the whole turn.
            self._mic.keep(frame.payload, frame.captured_ns, sent=False)

    def _append(self, captured: bytes, captured_ns: int) -> None:
        self._mic.keep(captured, captured_ns)
        voice = self._voice_rate.convert(captured)
        self._send(requests.append(voice), captured_ns + self._max_age_ns)

    # interruptions

    def _on_reply_state(self, delivery: Delivery[messages.ReplyState]) -> None:
        for part in (self._lost_turn, self._interruptions, self._functions):
            part.reply_state(delivery.message)
        if self._button is not None:
            self._button.reply_state(delivery.message)

    def _on_heard(self, delivery: Delivery[messages.Heard]) -> None:
        self._interruptions.heard(delivery.message)
        self._functions.heard(delivery.message)

    def _on_flush_report(self, delivery: Delivery[messages.FlushReport]) -> None:
        if self._link is None:
            # The report was held for this uplink, and arrived before link's state.
            self._stage.after(LINK_S, lambda: self._on_flush_report(delivery))
        else:
            self._interruptions.flush_report(delivery.message)

    # turns

    def _on_turn_decision(self, delivery: Delivery[messages.TurnDecision]) -> None:
        decision = delivery.message
        before = self._decision_requests.update(decision)
        if self._button is not None:
            self._button.follow(decision, before, delivery.stamp.t)
        if self._link is None or decision.session != self._link.session:
            return
        for item_id in self._decision_requests.to_delete():
            self._stage.counters["scraps"] += 1
            self._mic.forget_last_turn()
            self._send(requests.delete(item_id))
        self._ask_in_time()

    def _ask_in_time(self) -> None:
        """Ask for the response that is wanted, after REPORT_S at the latest."""
        if (wanted := self._decision_requests.wanted()) is not None:
            self._ask()
            # The report of a flush that this uplink has not seen may never come.
            self._stage.after(REPORT_S, lambda: self._ask(wanted.answer))

    def _ask(self, overdue: int = 0) -> None:
        """Ask for the response that is wanted, once the server knows how far the last was heard.

        ``overdue``: the ``answer`` (a number) that is asked for without waiting any longer. A
        decision's ``after`` is the generation of the flush whose outcome the server must know.
        """
        decision = self._decision_requests.wanted()
        if decision is None or decision.session != self._ready_session:
            return  # A session that does not have the conversation yet is asked once it has.
        told = not decision.after or self._interruptions.reported(decision.after)
        if not told and decision.answer == overdue:
            # The server gets what is known of the interruption before it answers.
            self._interruptions.report_unreported()
            told = True
        # report_unreported() calls this method again, so the request may have gone out.
        if told and self._decision_requests.wanted() is decision:
            self._decision_requests.asked(decision.answer)
            self._send(requests.respond())


def main() -> int:
    """Run the stage."""
    return run("uplink", Uplink, "Sends the audio, the settings and the requests to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
