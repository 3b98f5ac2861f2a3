"""The rules of echo. The kit is its capture and its playback."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from commands.check.microphone import Microphone, Samples, noise, person
from commands.check.rules import Broken, Rule
from shared import messages
from shared.audio.pcm import FRAME


class Echo(Microphone):
    """The check of an echo. The kit is its capture and its playback."""

    stage = "echo"
    neighbours = ("capture", "playback")
    reads = ("mic.frame", "speaker.frame")

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of echo."""
        return [
            Rule("one for one", "publishes one mic.clean for each mic.frame", self._one_for_one),
            Rule("person", "lets the person through while nothing plays", self._person),
            Rule("lost frames", "puts silence in the place of lost frames", self._lost_frames),
            Rule("frames", "keeps position, time and length of each frame", self._frames),
        ]

    def probe(self) -> str:
        """Send half a second of microphone, and expect it back."""
        self.begin()
        since = self.bench.now
        self._pass(noise(25, 3000))
        self._all_back(since, 25)
        return "frames go through"

    def _pass(self, pcm: Samples) -> None:
        for frame in pcm.reshape(-1, FRAME):
            fields = self.next_frame()
            self.bench.publish(messages.MicFrame(**fields, payload=frame.tobytes()))
            played = {"stream": fields["stream"], "position": fields["position"]}
            self.bench.publish(
                messages.SpeakerFrame(
                    **played, played_ns=fields["captured_ns"], payload=bytes(FRAME * 2)
                )
            )

    def _all_back(self, since: int, count: int) -> list[messages.MicClean]:
        """Wait for ``count`` frames. The last few may wait for their far end until more come."""

        def back() -> list[messages.MicClean]:
            return [f for f in self.bench.all(messages.MicClean, since) if f.stream == self._stream]

        if not self.bench.until(lambda: len(back()) >= count - 5):
            self.bench.alive()
            raise Broken(f"{len(back())} frames came back of {count}")
        return back()

    def _one_for_one(self) -> str:
        self.begin()
        since = self.bench.now
        self._pass(noise(60, 3000))
        back = self._all_back(since, 60)
        positions = [frame.position for frame in back]
        if positions != [n * FRAME for n in range(len(positions))]:
            raise Broken(f"of 60 frames these came back, by position: {positions}"[:200])
        return f"{len(back)} of 60, the rest waits for the speaker's frames"

    def _person(self) -> str:
        self.begin()
        since = self.bench.now
        said = person(0)
        said = said[: len(said) // FRAME * FRAME]
        self._pass(said)
        back = self._all_back(since, len(said) // FRAME)
        heard = np.frombuffer(b"".join(f.payload for f in back), np.int16)
        lost_db = 10 * np.log10(power(said[: len(heard)]) / power(heard))
        if abs(lost_db) > 6:
            raise Broken(f"the person came back {lost_db:.0f} dB quieter")
        return f"{lost_db:.1f} dB quieter"

    def _lost_frames(self) -> str:
        self.begin()
        since = self.bench.now
        self._pass(noise(20, 3000))
        self.skip(3)
        self._pass(noise(30, 3000))
        back = self._all_back(since, 53)
        lost = [f for f in back if 20 * FRAME <= f.position < 23 * FRAME]
        if len(lost) != 3:
            raise Broken(f"{len(lost)} frames came in the place of 3 lost ones")
        loud = max(power(np.frombuffer(frame.payload, np.int16)) for frame in lost[1:])
        if loud > 0.01 * power(noise(1, 3000)):
            raise Broken("the frames in the place of lost ones are not silent")
        return "3 of 3"

    def _frames(self) -> str:
        return self.stamped(self.bench.arrivals("mic.clean"), contiguous=False)


def power(samples: Samples) -> float:
    """Return the mean power of samples, never 0."""
    return float(np.mean(np.square(samples.astype(np.float64)))) + 1e-9
