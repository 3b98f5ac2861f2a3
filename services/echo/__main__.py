"""Removes the assistant's echo from the microphone: reads ``mic.frame``, publishes ``mic.clean``.

The far end is what playback gave to the speaker (``speaker.frame``). ``Aligner`` finds what was
played while a microphone frame was captured, and ``Canceller`` removes its echo. ``Chain`` joins
the two.
"""

from __future__ import annotations

import msgspec

from services.echo.chain import Chain
from services.echo.monitor_source import MONITOR, MonitorSourceCheck
from shared import messages, now
from shared.bus import Delivery
from shared.faults import Faults
from shared.run import run
from shared.stage import Stage

#: Seconds between two updates of the stage's state and counters.
REPORT_S = 1.0


class Echo:
    """The echo canceller of one microphone, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        settings = stage.config.echo
        self._chain = Chain(settings)
        self._monitor_source = MonitorSourceCheck()
        self._faults = Faults(stage)
        #: dB, for each frame since the last report in which the assistant could be heard.
        self._removed_db: list[int] = []
        self._doing = "listening"  # what the canceller last did, for a person
        self._taken = False  # whether frames have come since the last report
        self._muted = False  # whether the person has muted the microphone
        stage.subscribe(messages.MicFrame, self._on_mic)
        stage.subscribe(messages.Panel, self._on_panel)
        if self._chain.needs_far:
            stage.subscribe(messages.SpeakerFrame, self._on_speaker)
            stage.every(REPORT_S, self._report)
        stage.state = "listening" if settings.enabled else "off: the microphone passes through"
        stage.log.info(
            "echo canceller %s%s; waiting for mic.frame",
            "on" if settings.enabled else "off",
            ", half duplex" if settings.half_duplex else "",
        )

    def _on_speaker(self, delivery: Delivery[messages.SpeakerFrame]) -> None:
        now_ns = now.monotonic_ns()
        self._chain.speaker(delivery.message, now_ns)
        self._publish_ready(now_ns)

    def _on_mic(self, delivery: Delivery[messages.MicFrame]) -> None:
        self._chain.microphone(delivery.message)
        self._publish_ready(now.monotonic_ns())

    def _on_panel(self, delivery: Delivery[messages.Panel]) -> None:
        # While muted, echo publishes silence and leaves no gap: so the server ends a half-said
        # turn.
        self._muted = delivery.message.muted

    def _publish_ready(self, now_ns: int) -> None:
        for aligned, clean in self._chain.take(now_ns):
            self._taken = True
            if aligned.lost:
                self._stage.count("silent_frames")
            if clean.far:
                self._removed_db.append(clean.removed_db)
            self._stage.publish(_silenced(clean) if self._muted else clean)
            self._monitor_source.add(aligned)

    def _report(self) -> None:
        self._report_echo()
        if self._monitor_source.found:
            self._stage.state = MONITOR.state
        elif not self._stage.ok:
            self._stage.state = "listening"
        self._faults.report(MONITOR if self._monitor_source.found else None)

    def _report_echo(self) -> None:
        canceller = self._chain.canceller
        if canceller is None:
            return
        self._stage.counters["moved"] = canceller.moved
        if canceller.passes:
            self._stage.state = "no echo: the microphone passes through"
        elif self._removed_db:
            mean = sum(self._removed_db) // len(self._removed_db)
            self._doing = f"removes {mean} dB"
            self._stage.counters["removed_db"] = mean
        if self._stage.ok and not canceller.passes and self._taken:
            noise = f"noise in the voices' band: {canceller.noise_dbfs} dBFS"
            self._stage.state = f"{self._doing}; {noise}"
        self._removed_db.clear()
        self._taken = False


def _silenced(clean: messages.MicClean) -> messages.MicClean:
    return msgspec.structs.replace(clean, payload=bytes(len(clean.payload)))


def main() -> int:
    """Run the stage."""
    return run("echo", Echo, "Removes the assistant's echo from the microphone.")


if __name__ == "__main__":
    raise SystemExit(main())
