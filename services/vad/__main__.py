"""Whether someone speaks, as heard here: ``mic.clean`` in, ``mic.speech`` out.

Sooner than the server can say so: playback lowers the assistant on it, and where the client
decides, downlink judges by it. It interrupts nothing by itself.
"""

from __future__ import annotations

from services.vad.voice import Voice
from shared import messages
from shared.audio import pcm
from shared.audio.silero import Silero
from shared.bus import Delivery
from shared.stage import Stage, run

#: A microphone that was silent for so long, or another one, is heard anew.
GAP_NS = 200_000_000
#: While someone speaks it is said this often how far that has gone.
TELL_NS = 60_000_000


class Vad:
    """One microphone's voice activity detector, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = stage.config.vad
        self._silero = Silero()
        self._voice = self._listen()
        self._onsets = 0
        self._said: messages.Speech | None = None
        self._next_ns = 0  # when the next frame is due, by the last one
        stage.subscribe(messages.MicClean, self._on_mic)
        stage.state = "waiting for mic.clean"
        stage.log.info("threshold %g; waiting for mic.clean", self._settings.threshold)

    def _listen(self) -> Voice:
        self._silero.reset()
        return Voice(self._silero, self._settings.threshold, self._settings.silence_ms)

    def _on_mic(self, delivery: Delivery[messages.MicClean]) -> None:
        frame = delivery.message
        if abs(frame.captured_ns - self._next_ns) > GAP_NS:
            if self._voice.speaking:
                self._say(False, self._next_ns)
            self._voice = self._listen()
        samples = len(frame.payload) // pcm.SAMPLE_BYTES
        self._next_ns = frame.captured_ns + pcm.samples_to_ns(samples)
        for change in self._voice.take(frame.payload, frame.captured_ns):
            self._say(change.speaking, change.at_ns)
        voice, said = self._voice, self._said
        if said is not None and voice.speaking and voice.until_ns - said.until_ns >= TELL_NS:
            # a judge of short sounds need not wait for a silence that does not come
            self._say(True, said.at_ns)
        self._stage.counters["windows"] = self._voice.looked

    def _say(self, speaking: bool, at_ns: int) -> None:
        again = self._said is not None and self._said.speaking
        self._onsets += speaking and not again
        self._stage.counters["onsets"] = self._onsets
        self._stage.state = "someone speaks" if speaking else "nobody speaks"
        self._said = messages.Speech(
            speaking=speaking,
            at_ns=max(0, at_ns),
            onsets=self._onsets,
            until_ns=max(0, self._voice.until_ns) if speaking else 0,
        )
        self._stage.publish(self._said)


def main() -> int:
    """Run the stage."""
    return run("vad", Vad, "Says when someone begins and ends to speak.")


if __name__ == "__main__":
    raise SystemExit(main())
