"""Whether the person's voice ends the reply, where the client decides it; and what then follows.

The server's voice detector takes every cough and "mm-hm" for a turn. Here a sound is judged by how
long it lasts (as heard here, by vad; where that hears nothing, as the server heard it) and by its
words, where the server transcribes them. What does not interrupt leaves the conversation again.

Pure: fed with what is heard here, with what the server says and with what the assistant does, each
at an explicit time (ns), it gives interruptions and keeps what is wanted of the server.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass

from services.downlink import events
from shared import messages
from shared.config import Config

MS = 1_000_000
#: The server tells of speech so much later than it began, at most: its detection and the network.
LAG_NS = 800 * MS
#: A reply that is heard again this soon was never over for the person.
GAP_NS = 300 * MS
#: A sentence comes in pieces, with pauses that end no turn between them, of this many ms at most.
PAUSE_MS = 500
#: A response that was asked for and does not come by then, nor an error that says why, never will.
ASK_NS = 5000 * MS
#: A flush before this may be unknown to an uplink, and its outcome is.
FRESH_NS = 1000 * MS
#: How long a silence ends a turn where the server judges by the words as well.
SEMANTIC_MS = 1000
#: vad says every second whether someone speaks; one that has not for so long says no more.
SILENT_NS = 3000 * MS
#: A person's command that comes later, since no downlink ran, would end a reply it does not mean.
COMMAND_NS = 1000 * MS
REMEMBERED = 64
TURNS = 16
ACTIVE_CODE = "conversation_already_has_active_response"


@dataclass(eq=False)
class _Speech:
    """A stretch of speech: heard here, or as the server's account has it."""

    onset_ns: int
    hangover_ns: int  # of its detector: what it still calls speech may have ended so long ago
    end_ns: int = 0  # 0: it goes on
    until_ns: int = 0  # where its detector says so: how far it has surely gone on
    local: bool = True
    outcome: str = ""  # "interrupt", "turn" (nothing was interrupted), "scrap"

    def sure_ns(self, now_ns: int) -> int:
        """Give up to when it has surely gone on."""
        return self.end_ns or self.until_ns or now_ns - self.hangover_ns


@dataclass(eq=False)
class _Turn:
    """A turn of the person, as the server hears it."""

    item_id: str
    started_ns: int
    own: _Speech  # its account of the speech in it
    start_ms: int = 0
    stopped_ns: int = 0
    committed_ns: int = 0
    text: str = ""
    final: bool = False
    outcome: str = ""  # "answer", "scrap"


class Judge:
    """Judges the person's speech; see the module. ``first``: numbers begin there, and only grow."""

    def __init__(self, config: Config, first: int) -> None:
        rules, detection = config.interruption, config.session.turn_detection
        self.decide = rules.decide
        self._judges = rules.decide == "client"
        #: Whether turns are answered on our asking.
        self._asks = self._judges or rules.decide == "push_to_talk"
        if rules.decide == "never":
            self._asks = detection.create_response and detection.type != "none"
        self._min_ns = rules.min_speech_ms * MS
        self._min_words = rules.min_words
        self._words_ns = rules.words_limit_ms * MS if config.session.transcription_model else 0
        self._backchannels = {word.casefold() for word in rules.backchannels}
        self._local_ns = config.vad.silence_ms * MS
        server_vad = detection.type == "server_vad"
        self._padding_ms = detection.prefix_padding_ms if server_vad else 0
        self._silence_ms = detection.silence_duration_ms if server_vad else SEMANTIC_MS
        self._pause_ns = min(self._silence_ms, PAUSE_MS) * MS
        # speech that began so shortly before the server ended a turn belongs to the next
        self._edge_ns = (self._silence_ms if server_vad else 200) * MS // 2
        self._number = first
        self._local_speech: deque[_Speech] = deque(maxlen=16)
        self._heard_ns = 0  # when it was last said whether someone speaks
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        # the assistant's floor: since when, and until when, ns
        self._floor = False
        self._floor_from = self._floor_to = 0
        self._active = self._playing = self._generating = False
        self._due: set[int] = set()
        # what is wanted
        self._session = 0
        self._last: tuple[str, int] = ("", 0)
        self._flushed: tuple[int, int] = (0, 0)  # generation, when
        self._answer = False
        self._asked = 0  # the number of the answer that is asked for
        self._asked_ns = 0
        self._blocked_ns = 0  # until when nothing is asked for: another response is under way
        self._stillborn = False  # what was asked for is interrupted before it is there
        self._unwanted: OrderedDict[str, None] = OrderedDict()
        self._idle: str = ""  # an item that is a silence, which the server answers by itself
        self._talk: tuple[bool, int] = (False, 0)

    # what comes in: each gives whether the assistant is interrupted by it

    def begin_session(self, session: int) -> None:
        """Begin anew with another connection, whose conversation is empty."""
        self._session = session
        self._turns.clear()
        self._unwanted.clear()
        self._answer = self._stillborn = False
        self._asked = self._blocked_ns = 0

    def hear(self, speech: messages.Speech, now_ns: int) -> bool:
        """Learn that the person speaks, or no longer, as heard here."""
        last = self._local_speech[-1] if self._local_speech else None
        self._heard_ns = now_ns
        if speech.speaking and (last is None or speech.at_ns > max(last.onset_ns, last.end_ns)):
            if last is not None and not last.end_ns:
                last.end_ns = speech.at_ns
            # vad has heard no more than what it told of just now, and tells of an end as late
            late_ns = min(max(0, now_ns - speech.at_ns), LAG_NS)
            last = _Speech(speech.at_ns, self._local_ns + late_ns)
            self._local_speech.append(last)
        elif not speech.speaking and last is not None and not last.end_ns:
            last.end_ns = max(speech.at_ns, last.onset_ns + 1)
        if speech.speaking and last is not None and not last.end_ns:
            last.until_ns = max(last.until_ns, speech.until_ns)
        return self.weigh(now_ns)

    def assistant(self, *, playing: bool, generating: bool, active: bool, now_ns: int) -> bool:
        """Learn what the assistant does.

        ``playing``: a reply is heard; ``generating``: one is under way that was not interrupted;
        ``active``: one is under way at all, so that none can be asked for.
        """
        self._playing, self._generating, self._active = playing, generating, active
        return self.weigh(now_ns)

    def read(self, event: events.Event, now_ns: int) -> bool:
        """Learn what the server says."""
        match event:
            case events.SpeechStarted():
                own = _Speech(now_ns, self._silence_ms * MS, local=False)
                self._remember(_Turn(event.item_id, now_ns, own, event.audio_start_ms))
            case events.SpeechStopped():
                turn = self._turn(event.item_id, now_ns)
                turn.stopped_ns = now_ns
                lasted_ms = event.audio_end_ms - turn.start_ms - self._padding_ms - self._silence_ms
                turn.own.end_ns = turn.own.onset_ns + max(1, lasted_ms * MS)
            case events.TimeoutTriggered():
                self._idle = event.item_id
            case events.Committed():
                if event.item_id == self._idle:
                    return False
                turn = self._turn(event.item_id, now_ns)
                turn.committed_ns = now_ns
                turn.stopped_ns = turn.stopped_ns or now_ns
            case events.UserTranscriptDelta():
                if (found := self._turns.get(event.item_id)) is not None:
                    found.text += event.delta or ""
            case events.UserTranscript():
                if (found := self._turns.get(event.item_id)) is not None:
                    found.text, found.final = event.transcript, True
            case events.ItemDeleted():
                self._unwanted.pop(event.item_id, None)
            case events.ResponseCreated() if not event.response.out_of_band:
                # it was made after all that the server has told of before
                self._answer, self._asked, self._blocked_ns = False, 0, 0
                if self._stillborn:
                    self._stillborn = False
                    return True
            case events.ResponseDone():
                self._blocked_ns = 0
            case events.ErrorEvent() if event.error.code == ACTIVE_CODE and self._asked:
                # until that one is done, of which we may not know
                self._answer, self._asked, self._blocked_ns = True, 0, now_ns + ASK_NS
            case _:
                return False
        return self.weigh(now_ns)

    def refuses(self, command: str, age_ns: int) -> str:
        """Give why a person's command is not followed; empty: it is."""
        if command != "interrupt" and self.decide != "push_to_talk":
            return "only with interruption.decide = push_to_talk"
        # a button that is let go is let go, however late that is told
        if command != "release" and age_ns > COMMAND_NS:
            return f"it came {age_ns // MS} ms late, when no downlink or a stopped one was there"
        return ""

    def talk(self, *, talking: bool, at_ns: int) -> bool:
        """Push to talk: the person presses the button, or lets it go."""
        self._talk = (talking, at_ns)
        self._answer = self._answer and not talking
        return talking

    def flushed(self, generation: int, now_ns: int) -> None:
        """Learn of a flush: what is asked for next comes after its outcome."""
        self._flushed = (generation, now_ns)
        self._playing = self._generating = False
        self._stillborn = bool(self._asked)
        self.weigh(now_ns)

    # what is wanted

    def decision(self) -> messages.TurnDecision:
        """Give what is judged, and what is wanted of the server."""
        generation, at_ns = self._flushed
        fresh = self._asked and self._asked_ns - at_ns < FRESH_NS
        return messages.TurnDecision(
            session=self._session,
            judged=self._last[0],  # type: ignore[arg-type]
            onset_ns=self._last[1],
            answer=self._asked,
            after=generation if fresh else 0,
            unwanted=list(self._unwanted),
            talk=self._talk[0],
            talk_ns=self._talk[1],
        )

    def due_ns(self, now_ns: int) -> int:
        """Give when ``weigh`` has something to decide by time alone; 0: it has not."""
        later = [at for at in self._due if at > now_ns]
        return min(later, default=0)

    def weigh(self, now_ns: int) -> bool:
        """Decide what can be decided by now; give whether the assistant is interrupted."""
        self._due.clear()
        interrupts = False
        if self._judges:
            if (
                now_ns - self._heard_ns > SILENT_NS
                and self._local_speech
                and not self._local_speech[-1].end_ns
            ):
                self._local_speech[-1].end_ns = max(
                    self._heard_ns, self._local_speech[-1].onset_ns + 1
                )
            self._hold_floor(now_ns)
            open_turns = [t for t in self._turns.values() if not t.outcome]
            for speech in (
                *self._local_speech,
                *(t.own for t in open_turns if not self._speeches(t)),
            ):
                if not speech.outcome:
                    interrupts = self._weigh(speech, now_ns) or interrupts
        if interrupts:
            # what follows from it does so once it is done
            return True
        if self._asked and now_ns - self._asked_ns >= ASK_NS:
            self._asked, self._stillborn = 0, False
        for turn in self._turns.values():
            if turn.committed_ns and not turn.outcome:
                self._resolve_turn(turn, now_ns)
        self._ask(now_ns)
        if self._judges:
            self._hold_floor(now_ns)
        return False

    # how

    def _hold_floor(self, now_ns: int) -> None:
        floor = self._playing or self._generating or bool(self._asked and not self._stillborn)
        if floor and not self._floor and now_ns - self._floor_to > GAP_NS:
            self._floor_from = now_ns
        if self._floor and not floor:
            self._floor_to = now_ns
        self._floor = floor

    def _weigh(self, speech: _Speech, now_ns: int) -> bool:
        """Judge one stretch of speech: by how long it goes on over the reply, and by its words."""
        sure_ns = speech.sure_ns(now_ns)
        ended = speech.end_ns > 0
        began_ns = max(speech.onset_ns, self._floor_from)
        over_ns = self._floor_to if not self._floor else 0
        if not self._floor and (over_ns <= speech.onset_ns or sure_ns > over_ns):
            # nobody was interrupted, or the reply came to its end in the midst of it
            if ended:
                speech.outcome = "turn"
            return False
        began_ns -= self._led_up_ns(speech)
        brief = sure_ns - began_ns < self._min_ns
        if ended and brief and speech.onset_ns <= self._floor_from:
            # it began while the assistant was silent
            speech.outcome = "turn"
            return False
        if not brief:
            return self._real(speech, now_ns)
        if self._floor and not ended:
            self._due.add(began_ns + self._min_ns + speech.hangover_ns)
        turn = next((t for t in self._turns.values() if speech in self._of(t)), None)
        if turn is not None and self._words_ns and self._words(turn) >= self._min_words:
            return self._real(speech, now_ns)
        if ended:
            limit_ns = speech.end_ns + self._words_ns
            if now_ns >= limit_ns or (turn is not None and turn.final):
                speech.outcome = "scrap"
                self._last = ("resume", speech.onset_ns if speech.local else 0)
            else:
                self._due.add(limit_ns)
        return False

    def _led_up_ns(self, speech: _Speech) -> int:
        """Give for how long the pieces of the same sentence before this one went on over a reply.

        Over a loudspeaker a canceller leaves of a voice what is louder than the echo, and vad hears
        a sentence as several pieces, each too short to count.
        """
        lasted_ns, onset_ns = 0, speech.onset_ns
        # what the server alone hears has no pieces
        pieces = [
            s for s in self._local_speech if s.end_ns and s.end_ns <= onset_ns and speech.local
        ]
        for piece in reversed(pieces):
            if onset_ns - piece.end_ns > self._pause_ns:
                break
            onset_ns = piece.onset_ns
            lasted_ns += max(0, piece.end_ns - max(piece.onset_ns, self._floor_from))
        return lasted_ns

    def _real(self, speech: _Speech, now_ns: int) -> bool:
        """Take speech for a turn; give whether there is something to interrupt."""
        speech.outcome = "interrupt" if self._floor else "turn"
        if not self._floor:
            return False
        self._last = ("interrupt", speech.onset_ns if speech.local else 0)
        self._floor, self._floor_to = False, now_ns
        self._playing = self._generating = False
        return True

    def _words(self, turn: _Turn) -> int:
        """Count the words that say more than that someone listens."""
        words = re.findall(r"[\w'’-]+", turn.text.casefold())
        if not turn.final and words and not turn.text[-1:].isspace():
            # it may still grow into another
            words.pop()
        return sum(word.strip("'’-") not in self._backchannels for word in words)

    def _resolve_turn(self, turn: _Turn, now_ns: int) -> None:
        """Decide what becomes of a turn that is in the conversation."""
        if self._judges:
            outcomes = {speech.outcome or self._so_far(speech) for speech in self._of(turn)}
            if outcomes == {"scrap"}:
                turn.outcome = "scrap"
                self._unwanted[turn.item_id] = None
                while len(self._unwanted) > REMEMBERED:
                    self._unwanted.popitem(last=False)
                return
            limit_ns = turn.committed_ns + self._local_ns + self._words_ns + LAG_NS
            if not outcomes & {"turn", "interrupt"} and now_ns < limit_ns:
                self._due.add(limit_ns)
                return
        turn.outcome = "answer"
        # what was asked for and is not there yet will know of this turn
        self._answer, self._stillborn = self._asks, False

    def _so_far(self, speech: _Speech) -> str:
        """Give what speech that goes on is by now: nobody speaks but the person."""
        return "turn" if not self._floor and self._floor_to <= speech.onset_ns else ""

    def _ask(self, now_ns: int) -> None:
        if self._answer and not (self._active or self._asked or now_ns < self._blocked_ns):
            self._number += 1
            self._answer, self._asked, self._asked_ns = False, self._number, now_ns
        if self._asked:
            self._due.add(self._asked_ns + ASK_NS)
        if self._answer and self._blocked_ns:
            self._due.add(self._blocked_ns)

    def _speeches(self, turn: _Turn) -> list[_Speech]:
        """Give the speech heard here that is in a turn."""
        turns = list(self._turns.values())
        at = turns.index(turn)
        before_ns = turns[at - 1].stopped_ns - self._edge_ns if at else 0
        end_ns = turn.stopped_ns - self._edge_ns if turn.stopped_ns else 0
        return [
            s
            for s in self._local_speech
            if s.onset_ns > before_ns
            and (not s.end_ns or s.end_ns > turn.started_ns - LAG_NS)
            and (not end_ns or s.onset_ns < end_ns)
        ]

    def _of(self, turn: _Turn) -> list[_Speech]:
        """Give the speech that a turn is judged by."""
        return self._speeches(turn) or [turn.own]

    def _turn(self, item_id: str, now_ns: int) -> _Turn:
        """Give a turn; one that is not known began before this process did, or without speech."""
        turn = self._turns.get(item_id)
        if turn is None:
            own = _Speech(now_ns, 0, now_ns, local=False, outcome="turn")
            turn = self._remember(_Turn(item_id, now_ns, own))
        return turn

    def _remember(self, turn: _Turn) -> _Turn:
        self._turns[turn.item_id] = turn
        while len(self._turns) > TURNS:
            self._turns.popitem(last=False)
        return turn
