"""Downlink's decisions about the person's turns, as one TurnDecision. Pure.

`Decisions` passes each event to the part that needs it (the speech log, the floor, the judge, the
requests for answers), and runs the parts in the one order that works: first judge the speech, then
decide what becomes of the turns, then ask for an answer.

Each method that returns a bool returns whether the reported event interrupts the assistant. The
caller then flushes, and calls `flushed`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from services.downlink import events, turn_names
from services.downlink.answers import ANSWER_TIMEOUT_NS, Answers, asks_for_answers
from services.downlink.calls import Calls
from services.downlink.commands import ButtonState
from services.downlink.floor import Floor
from services.downlink.judge import Judge
from services.downlink.speech import FOREVER_NS, SpeechLog
from services.downlink.transcript_wait import TranscriptWait
from services.downlink.turns import TurnOutcome, UtteranceOutcome
from shared import messages
from shared.config import Config
from shared.oldest import drop_oldest

#: How many items that the server has not yet deleted are remembered: as many as TurnDecision holds.
MAX_UNWANTED = 64
#: The words that TurnDecision has for the judge's outcomes.
JUDGED: dict[UtteranceOutcome | None, Literal["", "interrupt", "scrap"]] = {
    None: "",
    UtteranceOutcome.INTERRUPT: "interrupt",
    UtteranceOutcome.SCRAP: "scrap",
}


class Decisions:
    """Collects the decisions about the person's speech and turns.

    ``first``: requests for answers are numbered from ``first + 1``, so that uplink can tell a new
    request from one that it has followed. All times are ns of CLOCK_MONOTONIC.
    """

    def __init__(self, config: Config, first: int) -> None:
        decide = config.interruption.decide
        self._log = SpeechLog(config)
        self._floor = Floor()
        # Only with "client" is speech judged. With the other settings every turn is a turn.
        self._judge = Judge(config, self._log, self._floor) if decide == "client" else None
        self._configured_judge = self._judge
        self._asks = asks_for_answers(config)
        self._answers_expected = self._asks or (
            decide == "server" and config.session.turn_detection.create_response
        )
        self._answers = Answers(first, enabled=self._asks)
        self.calls = Calls(cancels=config.tools.on_interrupt == "cancel")
        self._transcript_wait = TranscriptWait(config)
        self._button = ButtonState()
        self._session = 0
        self._text_open = False  # no response has begun to a text that is in the conversation
        self._unwanted: OrderedDict[str, None] = OrderedDict()

    def begin_session(self, session: int) -> None:
        """Begin with a new session, whose conversation is empty."""
        self._session = session
        self._log.begin_session()
        self._answers.begin_session()
        self._text_open = False
        self._unwanted.clear()

    def configure(self, config: Config) -> None:
        """Take over the settings that say when the server ends a turn."""
        self._log.configure(config)

    def adapt(self, *, server_answers: bool, follows_server: bool, transcribes: bool) -> None:
        """Leave to the server the work that it does although it was asked not to.

        ``server_answers``: it answers each turn. ``follows_server``: it decides what interrupts.
        ``transcribes``: it transcribes the turns although nobody asked for it.
        """
        self._answers.enabled = self._asks and not server_answers
        self._judge = None if follows_server else self._configured_judge
        if transcribes:
            self._transcript_wait.transcript_came()

    @property
    def question_open(self) -> bool:
        """Whether the person said or wrote something to which no response has begun.

        False if nobody was asked to answer it, or if the person holds the button.
        """
        open_turns = any(not turn.response_begun for turn in self._log.ended_turns())
        return (
            self._text_open or (open_turns and self._answers_expected)
        ) and not self._button.pressed

    # what vad, the assistant and the person do

    def vad_reported(self, report: messages.Speech, now_ns: int) -> bool:
        """Take vad's report that the person speaks, or no longer speaks."""
        self._log.vad_reported(report, now_ns)
        return self.weigh(now_ns)

    def assistant(self, *, playing: bool, generating: bool, active: bool, now_ns: int) -> bool:
        """Note what the assistant does. Return whether the assistant is interrupted.

        ``playing``: the person hears a reply. ``generating``: a response that was not interrupted
        is under way. ``active``: any response of the conversation is under way, so that the server
        would refuse to begin another one.
        """
        self._floor.assistant(playing=playing, generating=generating)
        self._answers.response_active(active=active)
        return self.weigh(now_ns)

    def command(self, command: str, at_ns: int, *, busy: bool) -> bool:
        """Take a person's command. Return whether the assistant is interrupted.

        ``busy``: a reply plays or is generated.
        """
        if command in ("talk", "release"):
            return self.set_button(pressed=command == "talk", at_ns=at_ns)
        return command == "interrupt" or (command == "type" and busy)

    def set_button(self, *, pressed: bool, at_ns: int) -> bool:
        """Take a press or a release of the push-to-talk button.

        Return whether the assistant is interrupted: a press interrupts.
        """
        self._button = ButtonState(pressed, at_ns)
        if pressed:
            # The person goes on: the answer to the next turn answers the earlier ones too.
            self._answers.withdraw()
            for turn in self._log.unanswered_turns():
                turn.answer_settled = True
        return pressed

    def flushed(self, generation: int, now_ns: int) -> None:
        """Note a flush: the next answer is asked for after the flush's report."""
        self._answers.flushed(generation, now_ns)
        for turn in self._log.undecided_turns():
            # A response may have begun for a turn that is not judged yet. The flush has just ended
            # that response, so the turn has no answer.
            turn.answer_settled = False
        self._floor.silence()
        self.weigh(now_ns)

    # what the server reports; each method returns whether the assistant is interrupted

    def speech_started(self, event: events.SpeechStarted, now_ns: int) -> bool:
        """Note that the server heard the start of a turn."""
        self._log.speech_started(event, now_ns)
        return self.weigh(now_ns)

    def speech_stopped(self, event: events.SpeechStopped, now_ns: int) -> bool:
        """Note that the server heard the end of a turn."""
        self._log.speech_stopped(event, now_ns)
        return self.weigh(now_ns)

    def silence_timed_out(self, event: events.TimeoutTriggered, now_ns: int) -> bool:
        """Note that the server makes a turn of a silence, and answers it by itself."""
        self._log.silence_timed_out(event)
        return self.weigh(now_ns)

    def committed(self, event: events.Committed, now_ns: int) -> bool:
        """Note that a turn is in the conversation."""
        return self._log.committed(event, now_ns) and self.weigh(now_ns)

    def words_added(self, event: events.UserTranscriptDelta, now_ns: int) -> bool:
        """Note that the server transcribed more words of a turn."""
        self._log.add_words(event)
        return self.weigh(now_ns)

    def words_final(self, item_id: str, text: str, now_ns: int) -> bool:
        """Note all words of a turn; ``text`` is empty if the server failed to transcribe it."""
        self._log.set_words(item_id, text)
        self._transcript_wait.transcript_came()
        return self.weigh(now_ns)

    def text_added(self, now_ns: int) -> bool:
        """Note that a text which is to be answered is in the conversation."""
        self._text_open = True
        self._answers.text_added()
        return self.weigh(now_ns)

    def item_deleted(self, event: events.ItemDeleted, now_ns: int) -> bool:
        """Note that the server deleted an item."""
        self._unwanted.pop(event.item_id, None)
        return self.weigh(now_ns)

    def response_created(self, *, out_of_band: bool, now_ns: int) -> bool:
        """Note that a response began. Responses outside the conversation change nothing."""
        if out_of_band:
            return False
        self._text_open = False
        for turn in self._log.committed_turns():
            self.calls.person_spoke(turn.started_ns)
        for turn in self._log.ended_turns():
            turn.response_begun = True
        self.calls.response_created()
        if self._answers.response_created():
            return True
        for turn in self._log.unanswered_turns():
            # The response answers this turn too, unless the server does not know its words yet.
            turn.answer_settled = not self._transcript_wait.lasts(turn, now_ns)
        return self.weigh(now_ns)

    def response_done(self, now_ns: int) -> bool:
        """Note that a response ended, in or outside the conversation."""
        self._answers.response_done()
        return self.weigh(now_ns)

    def error(self, event: events.ErrorEvent, now_ns: int) -> bool:
        """Note that the server reported an error."""
        return self._answers.refused(event.error, now_ns) and self.weigh(now_ns)

    # what is decided

    def decision(self) -> messages.TurnDecision:
        """Return all present decisions as one message."""
        judge = self._judge
        return messages.TurnDecision(
            session=self._session,
            judged=JUDGED[judge.last_outcome] if judge else "",
            onset_ns=judge.last_onset_ns if judge else 0,
            answer=self._answers.requested,
            after=self._answers.after_generation,
            unwanted=list(self._unwanted),
            talk=self._button.pressed,
            talk_ns=self._button.since_ns,
        )

    def due_ns(self, now_ns: int) -> int:
        """Return when `weigh` can decide something, though nothing new is reported; 0: never."""
        judge_ns = self._judge.deadlines_ns if self._judge else ()
        waits_ns = map(self._transcript_wait.until_ns, self._log.unanswered_turns())
        calls_ns = (*self.calls.deadlines_ns(), self._calls_wait_until_ns())
        deadlines_ns = (*judge_ns, *waits_ns, *self._answers.deadlines_ns(), *calls_ns)
        return min((at_ns for at_ns in deadlines_ns if now_ns < at_ns < FOREVER_NS), default=0)

    def weigh(self, now_ns: int) -> bool:
        """Decide everything that can be decided now. Return whether the assistant is interrupted.

        After an interruption nothing else is decided until the caller has called `flushed`.
        """
        if self._judge is not None:
            self._log.end_if_vad_is_gone(now_ns)
            self._floor.update(now_ns, awaited=self._answers.awaited)
            if self._judge.judge_speech(now_ns):
                return True
        self._answers.give_up(now_ns)
        for turn in self._log.undecided_turns():
            turn.outcome = TurnOutcome.ANSWER
            if self._judge is not None:
                turn.outcome = self._judge.turn_outcome(turn, now_ns)
            if turn.outcome is TurnOutcome.SCRAP:
                self._delete(turn.item_id)
        for turn in self._log.unanswered_turns():
            if turn.outcome is TurnOutcome.ANSWER and not self._transcript_wait.lasts(turn, now_ns):
                turn.answer_settled = True
                self._answers.turn_committed()
        self._answers.ask(now_ns)
        self._answer_calls(now_ns)
        if self._judge is not None:
            self._floor.update(now_ns, awaited=self._answers.awaited)
        return False

    def _answer_calls(self, now_ns: int) -> None:
        """Ask for the answer to function calls, unless the person is to be answered first."""
        self.calls.settle(now_ns)
        if not (self.calls.ready() and self._answers.possible(now_ns)) or self._button.pressed:
            return
        if self._calls_wait_until_ns() <= now_ns:
            self.calls.answer_asked()
            self._answers.outputs_came(now_ns)

    def _calls_wait_until_ns(self) -> int:
        """Return until when the request for an answer to function calls waits; 0: it does not.

        If the person spoke last, the response to the person's words answers the calls as well.
        """
        if not (self.calls.ready() and self._answers_expected):
            return 0
        return self._log.expected_until_ns(ANSWER_TIMEOUT_NS)

    def _delete(self, item_id: str) -> None:
        if item_id.startswith(turn_names.OURS):
            return  # This id is ours: the server does not know it, so it cannot delete the item.
        self._unwanted[item_id] = None
        drop_oldest(self._unwanted, MAX_UNWANTED)
