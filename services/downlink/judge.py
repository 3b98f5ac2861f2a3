"""Whether the person's speech interrupts the reply, where the client decides that. Pure.

The server's voice detector takes every cough and "mm-hm" for a turn. The judge measures how long
the speech goes on over the reply, and counts its words where the server transcribes them. Speech
that does not interrupt is a scrap: the reply goes on, and the turn leaves the conversation again.
"""

from __future__ import annotations

import re

from services.downlink.floor import Floor
from services.downlink.speech import MAX_LAG_NS, MS, SpeechLog
from services.downlink.turns import Turn, TurnOutcome, Utterance, UtteranceOutcome
from shared.config import Config


class Judge:
    """Decides the outcome of each piece of speech and of each turn.

    An open question is decided at one of the ``deadlines_ns``, or at the next report.
    """

    def __init__(self, config: Config, log: SpeechLog, floor: Floor) -> None:
        rules = config.interruption
        self._log, self._floor = log, floor
        self._min_ns = rules.min_speech_ms * MS
        self._min_words = rules.min_words
        # How long the words of short speech are waited for; 0: the server does not transcribe.
        self._words_ns = rules.words_limit_ms * MS if config.session.transcription_model else 0
        self._backchannels = {word.casefold() for word in rules.backchannels}
        self._vad_silence_ns = config.vad.silence_ms * MS
        #: Times (ns) at which an open question can be decided, though nothing new was reported.
        self.deadlines_ns: set[int] = set()
        #: The last decision that playback must know, INTERRUPT or SCRAP, and the onset of its
        #: speech; onset 0: the server alone heard it.
        self.last_outcome: UtteranceOutcome | None = None
        self.last_onset_ns = 0

    def judge_speech(self, now_ns: int) -> bool:
        """Decide the outcome of each piece of speech, as far as that is possible by now.

        Return whether the assistant is interrupted.
        """
        self.deadlines_ns.clear()
        interrupts = False
        for speech in self._log.undecided_utterances():
            speech.outcome = self._speech_outcome(speech, now_ns)
            if speech.outcome is UtteranceOutcome.INTERRUPT:
                self._floor.interrupt(now_ns)
                interrupts = True
            if speech.outcome in (UtteranceOutcome.INTERRUPT, UtteranceOutcome.SCRAP):
                self.last_outcome = speech.outcome
                self.last_onset_ns = speech.onset_ns if speech.local else 0
        return interrupts

    def turn_outcome(self, turn: Turn, now_ns: int) -> TurnOutcome | None:
        """Return what becomes of a committed turn, or None while its speech is undecided."""
        outcomes = {s.outcome or self._outcome_so_far(s) for s in self._log.speech_in(turn)}
        if outcomes == {UtteranceOutcome.SCRAP}:
            return TurnOutcome.SCRAP
        if outcomes & {UtteranceOutcome.TURN, UtteranceOutcome.INTERRUPT}:
            return TurnOutcome.ANSWER
        # After this time neither a report from vad nor the words of the speech can be on their way.
        limit_ns = turn.committed_ns + self._vad_silence_ns + self._words_ns + MAX_LAG_NS
        if now_ns < limit_ns:
            self.deadlines_ns.add(limit_ns)
            return None
        return TurnOutcome.ANSWER

    # helpers

    def _speech_outcome(self, speech: Utterance, now_ns: int) -> UtteranceOutcome | None:
        """Return the outcome of a piece of speech, or None if it cannot be decided yet."""
        floor = self._floor
        until_ns = speech.certain_until_ns(now_ns)
        if not floor.taken and (floor.left_ns <= speech.onset_ns or until_ns > floor.left_ns):
            # Nobody was interrupted, or the reply came to its own end during the speech.
            return UtteranceOutcome.TURN if speech.ended else None
        # When the speech began over the reply. Earlier pieces of the same sentence count as if they
        # had been spoken right before it.
        began_ns = max(speech.onset_ns, floor.taken_ns) - self._earlier_ns(speech)
        brief = until_ns - began_ns < self._min_ns
        if speech.ended and brief and speech.onset_ns <= floor.taken_ns:
            # It began while the assistant was silent.
            return UtteranceOutcome.TURN
        if not brief:
            return self._meant()
        if floor.taken and not speech.ended:
            self.deadlines_ns.add(began_ns + self._min_ns + speech.hangover_ns)
        turn = self._log.turn_with(speech)
        if turn is not None and self._words_ns and self._count_words(turn) >= self._min_words:
            return self._meant()
        if not speech.ended:
            return None
        limit_ns = speech.end_ns + self._words_ns
        if now_ns >= limit_ns or (turn is not None and turn.final):
            return UtteranceOutcome.SCRAP
        self.deadlines_ns.add(limit_ns)
        return None

    def _meant(self) -> UtteranceOutcome:
        """Return the outcome of speech that is meant for the assistant."""
        return UtteranceOutcome.INTERRUPT if self._floor.taken else UtteranceOutcome.TURN

    def _earlier_ns(self, speech: Utterance) -> int:
        """Return how long the earlier pieces of the same sentence went on over the reply."""
        return sum(
            max(0, piece.end_ns - max(piece.onset_ns, self._floor.taken_ns))
            for piece in self._log.earlier_pieces(speech)
        )

    def _outcome_so_far(self, speech: Utterance) -> UtteranceOutcome | None:
        """Return TURN for undecided speech that began while the assistant did not have the floor.

        Return None if the assistant has the floor, or had it when the speech began.
        """
        silent = not self._floor.taken and self._floor.left_ns <= speech.onset_ns
        return UtteranceOutcome.TURN if silent else None

    def _count_words(self, turn: Turn) -> int:
        """Return the number of words in a turn that are no backchannel ("yeah", "mm-hm")."""
        words = re.findall(r"[\w'’-]+", turn.text.casefold())
        if not turn.final and words and not turn.text[-1:].isspace():
            # The last word may still grow into another one.
            words.pop()
        return sum(word.strip("'’-") not in self._backchannels for word in words)
