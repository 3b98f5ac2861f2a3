"""The assistant's own voice, taken out of the microphone: ``mic.frame`` in, ``mic.clean`` out.

What playback gave to the speaker (``speaker.frame``) is the far end; by the two devices' times it
is laid beside what the microphone heard meanwhile. The work is done in the modules beside this one.
"""

from __future__ import annotations

import time

from services.echo import learnt
from services.echo.canceller import Canceller
from services.echo.farend import Aligned, Aligner
from services.echo.halfduplex import HalfDuplex
from shared import messages
from shared.bus import Delivery
from shared.stage import Stage, run

REPORT_S = 1.0
#: How often what was learnt of the room is left for the next process, while there is an echo.
REMEMBER_S = 5.0
#: Where, in the bus directory.
ROOM = "echo.room"


class Echo:
    """One microphone's echo canceller, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        settings = stage.config.echo
        self._aligner = Aligner()
        self._room = stage.directory / ROOM
        self._canceller = (
            Canceller(high_pass=settings.high_pass, noise_suppression=settings.noise_suppression)
            if settings.enabled
            else None
        )
        self._half_duplex = HalfDuplex(settings.hangover_ms) if settings.half_duplex else None
        self._heard = False  # an echo, since the room was last remembered
        self._removed: list[int] = []  # dB, of the last second's frames with the assistant in them
        stage.subscribe(messages.MicFrame, self._on_mic)
        if self._canceller or self._half_duplex:
            stage.subscribe(messages.SpeakerFrame, self._on_speaker)
            stage.every(REPORT_S, self._report)
        if self._canceller:
            self._recall(self._canceller)
            stage.every(REMEMBER_S, self._remember)
            stage.on_close(self._remember)
        stage.state = "listening" if settings.enabled else "off: the microphone passes through"
        stage.log.info(
            "echo canceller %s%s; waiting for mic.frame",
            "on" if settings.enabled else "off",
            ", half duplex" if settings.half_duplex else "",
        )

    def _on_speaker(self, delivery: Delivery[messages.SpeakerFrame]) -> None:
        now = time.monotonic_ns()
        self._aligner.speaker(delivery.message, now)
        self._take(now)

    def _on_mic(self, delivery: Delivery[messages.MicFrame]) -> None:
        self._aligner.microphone(delivery.message)
        self._take(time.monotonic_ns())

    def _take(self, now_ns: int) -> None:
        for aligned in self._aligner.take(now_ns):
            self._publish(aligned)

    def _publish(self, aligned: Aligned) -> None:
        frame, clean = aligned.frame, aligned.frame.payload
        far, removed_db = False, 0
        if aligned.missing:
            self._stage.count("silent_frames")
        canceller = self._canceller
        if canceller is not None:
            clean = canceller.cancel(aligned, self._aligner)
            far, removed_db = canceller.far, canceller.removed_db
            if far:
                self._heard = True
                self._removed.append(removed_db)
        if self._half_duplex is not None:
            clean = self._half_duplex.apply(clean, aligned.far)
        self._stage.publish(
            messages.MicClean(
                stream=frame.stream,
                position=frame.position,
                captured_ns=frame.captured_ns,
                overflows=frame.overflows,
                far=far,
                removed_db=removed_db,
                payload=clean,
            )
        )

    def _report(self) -> None:
        canceller = self._canceller
        if canceller is None:
            return
        self._stage.counters["moved"] = canceller.moved
        self._stage.counters["resumed"] = int(self._aligner.resumed)
        if canceller.passes:
            self._stage.state = "no echo: the microphone passes through"
        elif self._removed:
            mean = sum(self._removed) // len(self._removed)
            self._stage.state = f"removes {mean} dB"
            self._stage.counters["removed_db"] = mean
        self._removed.clear()

    def _recall(self, canceller: Canceller) -> None:
        """Go on with what the echo stage before this one knew of the room."""
        try:
            with self._room.open("rb") as file:
                learnt.recall(file.read(learnt.MAX_BYTES), canceller, self._aligner)
        except FileNotFoundError:
            return
        except (OSError, learnt.NotLearnt) as error:
            self._stage.log.warning("%s: not used: %s; the room is learnt anew", self._room, error)

    def _remember(self) -> None:
        if self._canceller is None or not self._heard:
            return
        self._heard = False
        room = learnt.remember(self._canceller, self._aligner)
        if room is None:
            return
        new = self._room.with_suffix(".new")
        try:
            new.write_bytes(room)
            new.replace(self._room)
        except OSError as error:
            self._stage.count("rooms_not_kept", warning=f"{self._room}: {error}")


def main() -> int:
    """Run the stage."""
    return run("echo", Echo, "Takes the assistant's voice out of the microphone.")


if __name__ == "__main__":
    raise SystemExit(main())
