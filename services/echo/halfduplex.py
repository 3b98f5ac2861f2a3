"""Half duplex, for rooms where no canceller is good enough: mute the microphone. Pure."""

from __future__ import annotations

from services.echo.spectra import Samples
from shared.audio import pcm

#: A far end whose samples are all below this amplitude, full scale 1, is silent: -80 dBFS, about
#: three steps of 16 bits.
_SILENCE = 1e-4


class HalfDuplex:
    """Silences the microphone while the assistant speaks, and for ``hangover_ms`` after that."""

    def __init__(self, hangover_ms: int) -> None:
        self._hangover = pcm.ms_to_samples(hangover_ms)
        self._muted = 0  # samples for which the microphone stays silent

    def apply(self, frame: bytes, far: Samples) -> bytes:
        """Return the frame, or silence of the same length.

        ``frame`` is mono s16le at 24 kHz. ``far`` is what the speaker played meanwhile, full
        scale 1.
        """
        if len(far) and float(abs(far).max()) > _SILENCE:
            self._muted = self._hangover + len(far)
        if self._muted <= 0:
            return frame
        self._muted -= len(frame) // pcm.SAMPLE_BYTES
        return bytes(len(frame))
