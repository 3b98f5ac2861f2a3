"""The client's judgement while the assistant always speaks: vad, the judge and a server, simulated.

This is what downlink does with ``interruption.decide = "client"``, faster than real time. The
server commits each turn that it hears and answers when it is asked to. Requests take no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from services.downlink import events
from services.downlink.decisions import Decisions
from services.emulator.ears import Started, Stopped
from services.playback.duck import Duck
from services.vad.__main__ import UPDATE_NS
from services.vad.voice import Change, Voice
from shared import messages
from shared.audio import pcm
from shared.config import Config


@dataclass
class Item:
    """A turn that the server heard, in samples of the audio that it was sent."""

    begin: int
    end: int = 0
    deleted: bool = False


class Conversation:
    """Takes microphone frames; collects interruptions, ducks and items."""

    def __init__(self, settings: Config) -> None:
        rules = msgspec.structs.replace(settings.interruption, decide="client")
        self._decisions = Decisions(msgspec.structs.replace(settings, interruption=rules), 1)
        self._duck = Duck(rules)
        self._said: messages.Speech | None = None
        self._generation = self._answers = 0
        self._playing = True
        self.interruptions: list[int] = []  # when each was decided, in samples of the microphone
        self.ducks: list[int] = []  # when the reply was ducked, in samples of the microphone
        self.items: dict[str, Item] = {}

    def hear(self, voice: Voice, changes: list[Change], at: int, now_ns: int) -> None:
        """Take vad's result for a frame. ``at``: the sample at which the frame ends."""
        told = [(change.speaking, change.at_ns) for change in changes]
        said = self._said
        if not told and said and voice.speaking and voice.until_ns - said.until_ns >= UPDATE_NS:
            told = [(True, said.at_ns)]
        for speaking, at_ns in told:
            until_ns = voice.until_ns if speaking else 0
            speech = messages.Speech(speaking=speaking, at_ns=at_ns, until_ns=until_ns)
            self._said = speech
            if self._duck.vad_reported(speech, playing=self._playing, now_ns=now_ns):
                self.ducks.append(at)
            self._judged(self._decisions.vad_reported(speech, now_ns), at, now_ns)
        interrupts = self._decisions.assistant(
            playing=self._playing, generating=False, active=False, now_ns=now_ns
        )
        self._judged(interrupts, at, now_ns)

    def server(self, found: list[Started | Stopped], at: int, now_ns: int) -> None:
        """Take the result of the server's turn detection."""
        for turn in found:
            if isinstance(turn, Started):
                name = f"item_{len(self.items)}"
                self.items[name] = Item(turn.start)
                started = events.SpeechStarted(_ms(turn.start), name)
                self._judged(self._decisions.speech_started(started, now_ns), at, now_ns)
            else:
                name = list(self.items)[-1]
                self.items[name].end = turn.end
                stopped = events.SpeechStopped(_ms(turn.end), name)
                self._judged(self._decisions.speech_stopped(stopped, now_ns), at, now_ns)
                committed = events.Committed(name)
                self._judged(self._decisions.committed(committed, now_ns), at, now_ns)

    def _judged(self, interrupts: bool, at: int, now_ns: int) -> None:
        if interrupts:
            self.interruptions.append(at)
            self._generation += 1
            self._playing = self._duck.wanted = False
            self._decisions.flushed(self._generation, now_ns)
        decision = self._decisions.decision()
        if decision.judged == "scrap":
            self._duck.bring_back(decision.onset_ns)
        for name in decision.unwanted:
            self.items[name].deleted = True
            self._decisions.item_deleted(events.ItemDeleted(name), now_ns)
        if decision.answer > self._answers:
            self._answers = decision.answer
            self._playing = True
            self._decisions.response_created(out_of_band=False, now_ns=now_ns)


def _ms(samples: int) -> int:
    return samples * 1000 // pcm.RATE
