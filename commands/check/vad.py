"""The rules of vad. The kit is its echo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from commands.check.bench import Arrival
from commands.check.microphone import Microphone, Samples, person
from commands.check.rules import Broken, Rule, needed
from shared import messages
from shared.audio.pcm import FRAME


class Vad(Microphone):
    """The check of a vad. The kit is its echo."""

    stage = "vad"
    neighbours = ("echo",)
    reads = ("mic.clean",)
    #: An onset or an end must be reported this long after it at the latest, s.
    told_s = 2.5
    #: An onset may be placed this far from the first loud sample, s.
    placed_s = 0.5

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of vad."""
        return [
            Rule("silence", "hears nobody in silence", self._silence),
            Rule("onset", "reports when someone begins to speak", self._onset),
            Rule("goes on", "reports that the speech goes on", self._goes_on),
            Rule("end", "reports when the speech has ended", self._end),
        ]

    def probe(self) -> str:
        """Speak, and expect an onset and an end."""
        self.begin()
        since = self.bench.now
        # as long as a state takes to come again: it says how many onsets there were before
        self._pass(np.zeros(60 * FRAME, np.int16))
        self._speak()
        self._pass(np.zeros(60 * FRAME, np.int16))

        def again() -> bool:
            told = [speech.onsets for speech in self.bench.all(messages.Speech, since)]
            return bool(told) and told[-1] != told[0]

        if not self.bench.until(again, self.told_s):
            self.bench.alive()
            raise Broken("it reported no onset of a person who spoke")
        return "it hears the next speech"

    def _pass(self, pcm: Samples) -> None:
        for frame in pcm.reshape(-1, FRAME):
            fields: Any = self.next_frame()
            self.bench.publish(messages.MicClean(**fields, payload=frame.tobytes()))

    def _speak(self) -> None:
        said = person(0)
        self._spoke_ns = self._due_ns
        self._pass(said[: len(said) // FRAME * FRAME])
        self._stopped_ns = self._due_ns

    def _silence(self) -> str:
        self.begin()
        self._pass(np.zeros(50 * FRAME, np.int16))
        if any(speech.speaking for speech in self.bench.all(messages.Speech)):
            raise Broken("it heard someone in a second of zeros")
        return "1 s of it"

    def _onset(self) -> str:
        since = self.bench.now
        self._speak()
        self._since = since
        self._pass(np.zeros(60 * FRAME, np.int16))

        def found() -> list[Arrival]:
            return [a for a in self.bench.arrivals("mic.speech", since) if _speaking(a)]

        self.bench.until(found, self.told_s)
        onsets = found()
        if not onsets:
            raise Broken("it reported no onset of a person who spoke")
        first = onsets[0].message
        assert isinstance(first, messages.Speech)
        off_s = (first.at_ns - self._spoke_ns) / 1e9
        if abs(off_s) > self.placed_s:
            raise Broken(f"at_ns is {off_s:.2f} s from where the speech began")
        told_s = (onsets[0].at_ns - self._spoke_ns) / 1e9
        if told_s > self.told_s:
            raise Broken(f"it reported the onset {told_s:.1f} s after the speech began")
        return f"reported {told_s:.2f} s after it began"

    def _goes_on(self) -> str:
        told = [s for s in self.bench.all(messages.Speech, needed(self._since)) if s.speaking]
        if len(told) < 3:
            raise Broken(f"{len(told)} messages came while someone spoke for 1.2 s")
        if not told[-1].until_ns > told[0].until_ns >= told[0].at_ns:
            raise Broken("until_ns does not grow while someone speaks")
        return f"{len(told)} times"

    def _end(self) -> str:
        since = needed(self._since)

        def found() -> list[Arrival]:
            told = self.bench.arrivals("mic.speech", since)
            return [a for a in told if not _speaking(a) and a.at_ns > self._spoke_ns + 500_000_000]

        self.bench.until(found, self.told_s)
        ends = found()
        if not ends:
            raise Broken("it reported no end of the speech")
        told_s = (ends[0].at_ns - self._stopped_ns) / 1e9
        if told_s > self.told_s:
            raise Broken(f"it reported the end {told_s:.1f} s after the speech ended")
        return f"reported {told_s:.2f} s after it ended"


def _speaking(arrival: Arrival) -> bool:
    return isinstance(arrival.message, messages.Speech) and arrival.message.speaking
