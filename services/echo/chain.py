"""The chain of parts that turns each ``mic.frame`` into a ``mic.clean``. Pure.

The stage and the benchmarks run this same chain, so that a benchmark measures what a user gets.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.echo.aligner import Aligned, Aligner
from services.echo.canceller import Canceller
from services.echo.halfduplex import HalfDuplex
from shared import config, messages


class Chain:
    """Aligns the far end with the microphone, removes its echo, and mutes where it must."""

    def __init__(self, settings: config.Echo) -> None:
        self.aligner = Aligner()
        #: None if ``echo.enabled`` is false.
        self.canceller = (
            Canceller(high_pass=settings.high_pass, noise_suppression=settings.noise_suppression)
            if settings.enabled
            else None
        )
        self._half_duplex = HalfDuplex(settings.hangover_ms) if settings.half_duplex else None

    @property
    def needs_far(self) -> bool:
        """Whether the chain uses what the speaker plays."""
        return self.canceller is not None or self._half_duplex is not None

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None:
        """Add a frame that the speaker was given. ``now_ns`` is the current monotonic time."""
        self.aligner.speaker(frame, now_ns)

    def microphone(self, frame: messages.MicFrame) -> None:
        """Add a frame of the microphone."""
        self.aligner.microphone(frame)

    def take(self, now_ns: int) -> Iterator[tuple[Aligned, messages.MicClean]]:
        """Yield each frame that need not wait any longer, and what to publish for it."""
        for aligned in self.aligner.take(now_ns):
            yield aligned, self._clean(aligned)

    def _clean(self, aligned: Aligned) -> messages.MicClean:
        frame, clean = aligned.frame, aligned.frame.payload
        far, removed_db = False, 0
        canceller = self.canceller
        if canceller is not None:
            clean = canceller.cancel(aligned, self.aligner)
            far, removed_db = canceller.far_audible, canceller.removed_db
        if self._half_duplex is not None:
            clean = self._half_duplex.apply(clean, aligned.far)
        return cleaned(frame, clean, far=far, removed_db=removed_db)


def cleaned(
    frame: messages.MicFrame, payload: bytes, *, far: bool = False, removed_db: int = 0
) -> messages.MicClean:
    """Return a microphone frame with another payload as a ``mic.clean``."""
    return messages.MicClean(
        stream=frame.stream,
        position=frame.position,
        captured_ns=frame.captured_ns,
        overflows=frame.overflows,
        far=far,
        removed_db=removed_db,
        payload=payload,
    )
