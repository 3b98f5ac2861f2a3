"""Where no canceller can win: the microphone is silent while the assistant speaks. Pure."""

from __future__ import annotations

from services.echo.kalman import Samples
from shared.audio import pcm

#: What is quieter is no speech, full scale 1.
_SILENCE = 1e-4


class HalfDuplex:
    """Silences the microphone's frames while the far end is heard, and ``hangover_ms`` longer."""

    def __init__(self, hangover_ms: int) -> None:
        self._hangover = pcm.ms_to_samples(hangover_ms)
        self._closed = 0  # samples for which the microphone stays silent

    def apply(self, frame: bytes, far: Samples) -> bytes:
        """Give the frame, or silence of its length; ``far`` was heard while it was taken."""
        if len(far) and float(abs(far).max()) > _SILENCE:
            self._closed = self._hangover + len(far)
        if self._closed <= 0:
            return frame
        self._closed -= len(frame) // pcm.SAMPLE_BYTES
        return bytes(len(frame))
