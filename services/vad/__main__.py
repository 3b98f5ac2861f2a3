"""Detects whether somebody speaks: reads ``mic.clean``, publishes ``mic.speech``.

Vad detects speech sooner than the server can report it. Playback lowers the reply at the beginning
of speech, and downlink judges the speech if ``interruption.decide`` is ``client``. This stage
interrupts nothing by itself.
"""

from __future__ import annotations

from services.vad.balance import Balance
from services.vad.voice import Voice
from shared import messages
from shared.audio import pcm
from shared.audio.silero import Silero
from shared.bus import Delivery
from shared.faults import Faults
from shared.run import run
from shared.stage import Stage

#: A frame that comes more than 200 ms before or after its time belongs to another microphone, or to
#: one that was restarted: the detector starts again.
GAP_NS = 200_000_000
#: While somebody speaks, publish how far the speech has gone each 60 ms: every second window of the
#: detector. Downlink then knows that speech is long enough without waiting for its end.
UPDATE_NS = 60_000_000
#: The time between two checks of the levels of the person and of the echo, s.
LEVELS_S = 1.0


class Vad:
    """The voice activity detector of one microphone, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = stage.config.vad
        self._silero = Silero()
        self._voice = self._new_voice()
        self._onsets = 0
        self._published: messages.Speech | None = None
        self._next_ns = 0  # when the next frame should begin
        self._balance = Balance()
        self._faults = Faults(stage)
        stage.subscribe(messages.MicClean, self._on_mic)
        if not stage.config.echo.half_duplex:
            # Half duplex silences frames, and nobody can talk over the assistant anyway.
            stage.every(LEVELS_S, self._report_levels)
        stage.state = "waiting for mic.clean"
        stage.log.info("threshold %g; waiting for mic.clean", self._settings.threshold)

    def _new_voice(self, position: int = 0) -> Voice:
        self._silero.reset()
        settings = self._settings
        return Voice(self._silero, settings.threshold, settings.silence_ms, position)

    def _on_mic(self, delivery: Delivery[messages.MicClean]) -> None:
        frame = delivery.message
        if abs(frame.captured_ns - self._next_ns) > GAP_NS:
            if self._voice.speaking:
                self._publish(False, self._next_ns)
            self._voice = self._new_voice(frame.position)
        samples = len(frame.payload) // pcm.SAMPLE_BYTES
        self._next_ns = frame.captured_ns + pcm.samples_to_ns(samples)
        for change in self._voice.take(frame.payload, frame.captured_ns):
            self._publish(change.speaking, change.at_ns)
        self._balance.add(
            frame.payload,
            far=frame.far,
            removed_db=frame.removed_db,
            speaking=self._voice.speaking,
        )
        voice, published = self._voice, self._published
        if (
            published is not None
            and voice.speaking
            and voice.until_ns - published.until_ns >= UPDATE_NS
        ):
            self._publish(True, published.at_ns)
        self._stage.counters["windows"] = self._voice.windows

    def _publish(self, speaking: bool, at_ns: int) -> None:
        was_speaking = self._published is not None and self._published.speaking
        self._onsets += speaking and not was_speaking
        self._stage.counters["onsets"] = self._onsets
        self._published = messages.Speech(
            speaking=speaking,
            at_ns=max(0, at_ns),
            onsets=self._onsets,
            until_ns=max(0, self._voice.until_ns) if speaking else 0,
        )
        self._stage.publish(self._published)
        self._show()

    def _report_levels(self) -> None:
        self._faults.report(self._balance.fault())
        self._show()

    def _show(self) -> None:
        if self._published is None:
            return
        state = "someone speaks" if self._published.speaking else "nobody speaks"
        if not self._stage.ok:
            state += f"; the speaker is {self._balance.echo_db:.0f} dB louder than the person"
        self._stage.state = state


def main() -> int:
    """Run the stage."""
    return run("vad", Vad, "Detects when somebody begins and stops speaking.")


if __name__ == "__main__":
    raise SystemExit(main())
