"""The person's recent speech: as vad heard it here, and as turns that the server heard. Pure.

This module records speech, and says which speech belongs to which turn. `judge.py` decides what the
speech means. All times are ns of CLOCK_MONOTONIC, and the caller passes the current time in.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from services.downlink import events, turn_names
from services.downlink.turns import Turn, TurnOutcome, Utterance, UtteranceOutcome
from shared import messages
from shared.config import Config
from shared.oldest import drop_oldest

MS = 1_000_000
#: The server reports the start of speech at most this much later than the speech began: the time
#: of its own detection, plus a slow network (an upper limit, which was not measured). The same
#: limit caps the lateness that is assumed for vad's next report: after a longer stall, the lateness
#: of one report says nothing about the next one.
MAX_LAG_NS = 800 * MS
#: vad reports every second whether somebody speaks. A vad that was silent for three of these
#: reports is gone, and the speech that it reported last is taken for ended.
VAD_TIMEOUT_NS = 3000 * MS
#: A pause of at most this many ms is a pause inside one sentence, not the end of it.
PAUSE_MS = 500
#: The silence, in ms, after which a server ends a turn if `silence_duration_ms` does not apply:
#: semantic_vad weighs the words as well, and needs about this long.
SEMANTIC_SILENCE_MS = 1000
#: With semantic_vad: speech that begins at most this many ms before the server ends a turn belongs
#: to the next turn.
SEMANTIC_EDGE_MS = 100
#: How many pieces of speech heard here, and how many of the server's turns, are remembered. Older
#: ones were decided long ago.
MAX_LOCAL = 16
MAX_TURNS = 16


#: A time that does not come.
FOREVER_NS = 2**63 - 1


class SpeechLog:
    """The last pieces of speech heard here and the last turns that the server heard."""

    def __init__(self, config: Config) -> None:
        self.configure(config)
        self._local: deque[Utterance] = deque(maxlen=MAX_LOCAL)
        self._vad_reported_ns = 0
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        # The item that the server made of a silence. The server answers that item by itself.
        self._silence_item = ""

    def configure(self, config: Config) -> None:
        """Take over the settings that say when the server ends a turn."""
        detection = config.session.turn_detection
        server_vad = detection.type == "server_vad"
        silence_ms = detection.silence_duration_ms if server_vad else SEMANTIC_SILENCE_MS
        self._padding_ms = detection.prefix_padding_ms if server_vad else 0
        self._server_silence_ms = silence_ms
        self._vad_silence_ns = config.vad.silence_ms * MS
        # A pause that ends a turn is not a pause inside a sentence.
        self._pause_ns = min(silence_ms, PAUSE_MS) * MS
        # Speech that begins this shortly before the server ends a turn belongs to the next turn.
        self._edge_ns = silence_ms * MS // 2 if server_vad else SEMANTIC_EDGE_MS * MS

    def begin_session(self) -> None:
        """Forget the server's turns: a new session's conversation has none."""
        self._turns.clear()

    # what vad reports

    def vad_reported(self, report: messages.Speech, now_ns: int) -> None:
        """Record vad's report that the person speaks, or no longer speaks."""
        self._vad_reported_ns = now_ns
        last = self._local[-1] if self._local else None
        if report.speaking and (last is None or report.at_ns > max(last.onset_ns, last.end_ns)):
            if last is not None and not last.ended:
                last.end_ns = report.at_ns
            # If the report of the onset is late, the report of the end will be as late.
            late_ns = min(max(0, now_ns - report.at_ns), MAX_LAG_NS)
            last = Utterance(report.at_ns, self._vad_silence_ns + late_ns)
            self._local.append(last)
        elif not report.speaking and last is not None and not last.ended:
            last.end_at(report.at_ns)
        if report.speaking and last is not None and not last.ended:
            last.until_ns = max(last.until_ns, report.until_ns)

    def end_if_vad_is_gone(self, now_ns: int) -> None:
        """End the current local speech if vad has not reported for VAD_TIMEOUT_NS."""
        if not self._local or self._local[-1].ended:
            return
        if now_ns - self._vad_reported_ns > VAD_TIMEOUT_NS:
            self._local[-1].end_at(self._vad_reported_ns)

    # what the server reports

    def speech_started(self, event: events.SpeechStarted, now_ns: int) -> None:
        """Record that the server heard the start of a turn."""
        heard = Utterance(now_ns, self._server_silence_ms * MS, local=False)
        self._remember(Turn(event.item_id, now_ns, heard, event.audio_start_ms or 0))

    def speech_stopped(self, event: events.SpeechStopped, now_ns: int) -> None:
        """Record that the server heard the end of a turn."""
        turn = self._turn(event.item_id, now_ns)
        turn.stopped_ns = now_ns
        if event.audio_end_ms is None:
            turn.server_speech.end_at(now_ns - turn.server_speech.hangover_ns)
            return
        around_ms = self._padding_ms + self._server_silence_ms
        lasted_ms = event.audio_end_ms - turn.start_ms - around_ms
        turn.server_speech.end_at(turn.server_speech.onset_ns + lasted_ms * MS)

    def silence_timed_out(self, event: events.TimeoutTriggered) -> None:
        """Record that the server makes an item of a silence, and answers it by itself."""
        self._silence_item = event.item_id

    def committed(self, event: events.Committed, now_ns: int) -> bool:
        """Record that an item is in the conversation. Return whether it is a turn of a person."""
        if event.item_id == self._silence_item:
            return False
        turn = self._turn(event.item_id, now_ns)
        turn.committed_ns = now_ns
        turn.stopped_ns = turn.stopped_ns or now_ns
        return True

    def add_words(self, event: events.UserTranscriptDelta) -> None:
        """Add to a turn's words. Words of an unknown turn are dropped."""
        if (turn := self._turns.get(event.item_id)) is not None:
            turn.text += event.delta or ""

    def set_words(self, item_id: str, text: str) -> None:
        """Set all of a turn's words.

        Words of an unknown turn are those of the oldest turn that the server did not name, if there
        is one without words. Otherwise they are dropped.
        """
        turn = self._turns.get(item_id) or next(self._unnamed_without_words(), None)
        if turn is not None:
            turn.text, turn.final = text, True

    # questions

    def undecided_utterances(self) -> list[Utterance]:
        """Return the speech without an outcome: vad's, and the server's where vad heard nothing."""
        heard_by_server = [
            turn.server_speech
            for turn in self._turns.values()
            if turn.outcome is None and not self._local_speech_in(turn)
        ]
        return [s for s in (*self._local, *heard_by_server) if s.outcome is None]

    def undecided_turns(self) -> Iterator[Turn]:
        """Yield the turns that are committed and have no outcome yet, oldest first."""
        for turn in self._turns.values():
            if turn.committed_ns and turn.outcome is None:
                yield turn

    def committed_turns(self) -> Iterator[Turn]:
        """Yield the turns that are in the conversation and no scraps, oldest first."""
        for turn in self._turns.values():
            if turn.committed_ns and turn.outcome is not TurnOutcome.SCRAP:
                yield turn

    def ended_turns(self) -> Iterator[Turn]:
        """Yield the turns that the server has ended and that are no scraps, oldest first.

        The server may not have reported yet that such a turn is in the conversation.
        """
        for turn in self._turns.values():
            if turn.stopped_ns and turn.outcome is not TurnOutcome.SCRAP:
                yield turn

    def unanswered_turns(self) -> Iterator[Turn]:
        """Yield the committed turns that are not answered, oldest first."""
        return (turn for turn in self.committed_turns() if not turn.answer_settled)

    def expected_until_ns(self, limit_ns: int) -> int:
        """Return until when a response to the person's last words is expected; 0: it is not.

        It is expected for ``limit_ns`` after the person has stopped speaking.
        """
        last = next(reversed(self._turns.values()), None)
        if last is None or last.response_begun or last.outcome is TurnOutcome.SCRAP:
            return 0
        return last.stopped_ns + limit_ns if last.stopped_ns else FOREVER_NS

    def speech_in(self, turn: Turn) -> list[Utterance]:
        """Return the speech by which a turn is judged: vad's, or else the server's account."""
        return self._local_speech_in(turn) or [turn.server_speech]

    def turn_with(self, speech: Utterance) -> Turn | None:
        """Return the turn that contains a piece of speech, if the server has reported one."""
        return next((t for t in self._turns.values() if speech in self.speech_in(t)), None)

    def earlier_pieces(self, speech: Utterance) -> list[Utterance]:
        """Return the pieces of the same sentence before ``speech``, the latest first.

        Over a loudspeaker the echo canceller leaves only the part of a voice that is louder than
        the echo. vad then hears one sentence as several pieces, each too short to interrupt.
        """
        if not speech.local:
            # The server's account of a turn covers the whole sentence.
            return []
        pieces: list[Utterance] = []
        onset_ns = speech.onset_ns
        before = [s for s in self._local if s.ended and s.end_ns <= onset_ns]
        for piece in reversed(before):
            if onset_ns - piece.end_ns > self._pause_ns:
                break
            pieces.append(piece)
            onset_ns = piece.onset_ns
        return pieces

    # helpers

    def _local_speech_in(self, turn: Turn) -> list[Utterance]:
        """Return vad's pieces of speech between the ends of the turn before and of this turn."""
        turns = list(self._turns.values())
        at = turns.index(turn)
        after_ns = turns[at - 1].stopped_ns - self._edge_ns if at else 0
        before_ns = turn.stopped_ns - self._edge_ns if turn.stopped_ns else 0
        return [
            s
            for s in self._local
            if s.onset_ns > after_ns
            and (not s.ended or s.end_ns > turn.started_ns - MAX_LAG_NS)
            and (not before_ns or s.onset_ns < before_ns)
        ]

    def _unnamed_without_words(self) -> Iterator[Turn]:
        for name, turn in self._turns.items():
            if name.startswith(turn_names.OURS) and turn.committed_ns and not turn.final:
                yield turn

    def _turn(self, item_id: str, now_ns: int) -> Turn:
        """Return a turn. An unknown turn began before this process did, or without speech."""
        turn = self._turns.get(item_id)
        if turn is None:
            heard = Utterance(now_ns, 0, now_ns, local=False, outcome=UtteranceOutcome.TURN)
            turn = self._remember(Turn(item_id, now_ns, heard))
        return turn

    def _remember(self, turn: Turn) -> Turn:
        self._turns[turn.item_id] = turn
        drop_oldest(self._turns, MAX_TURNS)
        return turn
