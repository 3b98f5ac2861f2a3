"""A conversation with explicit times around the Decisions of downlink.

A scene has a person, a vad, a server and an assistant. vad reports speech 60 ms after its onset and
300 ms after its end. The server reports speech later, and ends a turn after 500 ms of silence. The
assistant does what downlink asks for.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from services.downlink import events, objects
from services.downlink.decisions import Decisions
from shared import messages
from shared.config import Config, Interruption, Session, TurnDetection

MS = 1_000_000
#: vad's delay at the onset and at the end of speech, ms.
ONSET_MS, HANGOVER_MS = 60, 300
#: The server's delay at the onset, the silence that ends a turn, and its prefix padding, ms.
STARTED_MS, SILENCE_MS, PADDING_MS = 150, 500, 300
#: The network's delay in one direction, ms.
LAG_MS = 40


class Scene:
    """Decisions, and everybody around them. All times are ms from the beginning of the scene."""

    def __init__(
        self,
        *,
        words: bool = False,
        create_response: bool = True,
        silence_ms: int = SILENCE_MS,
        **rules: Any,
    ) -> None:
        rules = {"decide": "client"} | rules
        self.decisions = Decisions(
            Config(
                interruption=Interruption(**rules),
                session=Session(
                    transcription_model="gpt-transcribe" if words else "",
                    turn_detection=TurnDetection(
                        create_response=create_response, silence_duration_ms=silence_ms
                    ),
                ),
            ),
            100,
        )
        self.decisions.begin_session(1)
        self.now = 0
        #: The time from the request for a response to the assistant's voice.
        self.latency = 200
        self.reply_ms = 3000
        #: Whether the server does what it is asked to do.
        self.answers = True
        #: When the assistant was interrupted, when its reply was let go on, and when a response was
        #: asked for; and which items were deleted.
        self.interrupted: list[int] = []
        self.scraps: list[int] = []
        self.asked: list[int] = []
        self.removed: list[str] = []
        #: How often a response was asked for while another one was under way.
        self.errors = 0
        #: The response under way, "" if none is.
        self.active: str = ""
        self.generating = self.playing = False
        self._playing_until = 0
        self._responses = itertools.count(1)
        self._generation = itertools.count(1000)
        self._order = itertools.count()
        self._plan: list[tuple[int, int, Callable[[], object]]] = []
        self._decision = self.decisions.decision()

    # the script

    def at(self, ms: int, what: Callable[[], object]) -> None:
        """Plan something for a time."""
        heapq.heappush(self._plan, (ms, next(self._order), what))

    def voice(self, begin: int, end: int) -> None:
        """Let the person speak so that only vad hears it."""
        self.at(begin + ONSET_MS, lambda: self.hear(begin, speaking=True))
        self.at(end + HANGOVER_MS, lambda: self.hear(end, speaking=False))

    def turn(self, begin: int, end: int, name: str = "item", says: str = "") -> None:
        """Let the person speak so that only the server hears it."""
        padded, over = begin - PADDING_MS, end + SILENCE_MS
        self.at(begin + STARTED_MS, lambda: self.read(events.SpeechStarted(padded, name)))
        self.at(over + LAG_MS, lambda: self.read(events.SpeechStopped(over, name)))
        self.at(over + LAG_MS, lambda: self.read(events.Committed(name)))
        if says:
            self.at(over + 300, lambda: self.read(events.UserTranscript(name, says)))

    def says(self, begin: int, end: int, name: str = "item", says: str = "") -> None:
        """Let the person speak so that vad and the server hear it."""
        self.voice(begin, end)
        self.turn(begin, end, name, says)

    def reply(self, begin: int, end: int, *, generated: int = 0) -> None:
        """Let the assistant speak. Its response is done long before, or at ``generated``."""
        name = f"resp_{next(self._responses)}"
        self.at(begin - 100, lambda: self.create(name))
        self.at(begin, lambda: self._play(name, end))
        self.at(generated or begin + 300, lambda: self.done(name))

    def run(self, until: int = 20_000) -> None:
        """Run everything that is planned, and everything that time alone decides."""
        while True:
            due = self.decisions.due_ns(self.now * MS)
            planned = self._plan[0][0] if self._plan else until + 1
            tick = due // MS + 1 if due else until + 1
            self.now = min(planned, tick)
            if self.now > until:
                self.now = until
                return
            if planned <= tick:
                heapq.heappop(self._plan)[2]()
            else:
                self.look()

    # what the decisions get to know

    def hear(self, at: int, *, speaking: bool, until: int = 0) -> None:
        """Let vad report now that speech began, ended or went on."""
        report = messages.Speech(speaking=speaking, at_ns=at * MS, until_ns=until * MS)
        self.judged(self.decisions.vad_reported(report, self.now * MS))

    def read(self, event: events.Event) -> None:
        """Let an event come from the server now."""
        self.judged(server_event(self.decisions, event, self.now * MS))

    def press(self, pressed: bool) -> None:
        """Press or release the push-to-talk button now."""
        self.judged(self.decisions.set_button(pressed=pressed, at_ns=self.now * MS))

    def look(self) -> None:
        """Tell the decisions what the assistant does."""
        self.judged(
            self.decisions.assistant(
                playing=self.playing,
                generating=self.generating,
                active=bool(self.active),
                now_ns=self.now * MS,
            )
        )

    # what downlink, uplink and the server do

    def judged(self, interrupts: bool) -> None:
        """Do what was decided, as downlink, uplink and playback do."""
        if interrupts:
            self.interrupted.append(self.now)
            self.flush()
        before, self._decision = self._decision, self.decisions.decision()
        decision = self._decision
        if decision.judged == "scrap" and decision.onset_ns != before.onset_ns:
            self.scraps.append(self.now)
        for name in set(decision.unwanted) - set(before.unwanted):
            self.removed.append(name)
            self.at(self.now + 2 * LAG_MS, lambda n=name: self.read(events.ItemDeleted(n)))  # type: ignore[misc]
        if decision.answer and decision.answer != before.answer:
            self.asked.append(self.now)
            if self.answers:
                self.at(self.now + LAG_MS, self._answer)

    def flush(self) -> None:
        """Silence the assistant and cancel the response that the server generates."""
        self.decisions.flushed(next(self._generation), self.now * MS)
        self.playing = self.generating = False
        if name := self.active:
            self.at(self.now + 2 * LAG_MS, lambda: self.done(name))

    def create(self, name: str) -> None:
        """Let the server begin a response."""
        self.active, self.generating = name, True
        self.read(events.ResponseCreated(objects.Response(name)))
        self.look()

    def done(self, name: str) -> None:
        """Let a response end, unless it is no longer the one under way."""
        if self.active == name:
            self.active, self.generating = "", False
            self.read(events.ResponseDone(objects.Response(name)))
            self.look()

    def _answer(self) -> None:
        if self.active:
            self.errors += 1
            self.read(
                events.ErrorEvent(
                    objects.ServerError(code="conversation_already_has_active_response")
                )
            )
            return
        name = f"resp_{next(self._responses)}"
        self.create(name)
        self.at(self.now + self.latency, lambda: self._play(name, self.now + self.reply_ms))
        self.at(self.now + self.latency + 300, lambda: self.done(name))

    def _play(self, name: str, until: int) -> None:
        if self.active == name and self.generating:
            self.playing, self._playing_until = True, until
            self.at(until, lambda: self._end(until))
            self.look()

    def _end(self, until: int) -> None:
        if self.playing and self._playing_until == until:
            self.playing = False
            self.look()


def server_event(decisions: Decisions, event: events.Event, now_ns: int) -> bool:
    """Pass an event to the decisions. Return whether the assistant is interrupted by it."""
    match event:
        case events.SpeechStarted():
            return decisions.speech_started(event, now_ns)
        case events.SpeechStopped():
            return decisions.speech_stopped(event, now_ns)
        case events.TimeoutTriggered():
            return decisions.silence_timed_out(event, now_ns)
        case events.Committed():
            return decisions.committed(event, now_ns)
        case events.UserTranscriptDelta():
            return decisions.words_added(event, now_ns)
        case events.UserTranscript():
            return decisions.words_final(event.item_id, event.transcript or "", now_ns)
        case events.ItemDeleted():
            return decisions.item_deleted(event, now_ns)
        case events.ResponseCreated():
            aside = event.response.without_conversation
            return decisions.response_created(out_of_band=aside, now_ns=now_ns)
        case events.ResponseDone():
            return decisions.response_done(now_ns)
        case events.ErrorEvent():
            return decisions.error(event, now_ns)
    return False
