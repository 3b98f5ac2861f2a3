"""The rules of capture."""

from __future__ import annotations

from collections.abc import Iterable

from commands.check.microphone import FRAME_S, PACE, WRONG_MS, Microphone
from commands.check.rules import Broken, Doubtful, NotTried, Rule
from shared import messages
from shared.audio.pcm import RATE

#: Few microphones are slower than this, ms. Stamps that are so early are probably wrong.
MUCH_MS = 200


class Capture(Microphone):
    """The check of a capture. Its microphone may be silent, but has to run in real time."""

    stage = "capture"

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of capture."""
        return [
            Rule("rate", "publishes 50 frames a second", self._rate),
            Rule("frames", "numbers and times its frames of 480 samples", self._frames),
            Rule("captured_ns", "states when the first sample was captured", self._captured),
        ]

    def _captured(self) -> str:
        ages_ms = [
            (arrival.stamp.t - arrival.message.captured_ns) / 1e6
            for arrival in self.bench.arrivals("mic.frame")
            if isinstance(arrival.message, messages.MicFrame)
        ]
        if not ages_ms:
            raise NotTried("no frame came")
        mean_ms = sum(ages_ms) / len(ages_ms)
        said = f"captured_ns is {mean_ms:.0f} ms before t on average"
        if mean_ms < FRAME_S * 1000 - WRONG_MS:
            raise Broken(
                f"{said}: a frame's first sample is captured {FRAME_S * 1000:.0f} ms before its"
                " last one"
            )
        if mean_ms > MUCH_MS:
            raise Doubtful(f"{said}: is the delay that long, or are the stamps early?")
        return f"{mean_ms:.0f} ms before t on average"

    def _rate(self) -> str:
        since = self.bench.now
        self.bench.rest(2.0)
        frames = self.bench.arrivals("mic.frame", since)
        if len(frames) < 2:
            raise Broken(f"{len(frames)} frames came in 2 s")
        took = (frames[-1].stamp.t - frames[0].stamp.t) / 1e9
        rate = (len(frames) - 1) / took
        if not 50 * (1 - PACE) < rate < 50 * (1 + PACE):
            raise Broken(f"{rate:.1f} frames came in a second")
        return f"{rate:.1f} in a second"

    def _frames(self) -> str:
        frames = self.bench.arrivals("mic.frame")
        told = self.stamped(frames)
        first = frames[0].message
        assert isinstance(first, messages.MicFrame)
        # the kit may have connected a moment after the first frame
        if first.position > 5 * RATE:
            raise Broken(f"the first frame has position {first.position}: positions begin at 0")
        return told
