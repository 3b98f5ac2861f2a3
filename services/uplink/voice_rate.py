"""The person's voice at the rate at which the server takes it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.audio import pcm

if TYPE_CHECKING:
    from shared.audio.resample import Resampler


class VoiceRate:
    """Converts the microphone's audio, s16le at 24 kHz, to another rate."""

    def __init__(self, rate: int) -> None:
        self._rate = pcm.RATE
        self._resampler: Resampler | None = None
        self.set(rate)

    def set(self, rate: int) -> None:
        """Convert the audio that follows to ``rate``, Hz. A rate that no server has is ignored."""
        if rate == self._rate or not pcm.LOWEST_RATE <= rate <= pcm.HIGHEST_RATE:
            return
        self._rate, self._resampler = rate, None
        if rate != pcm.RATE:
            # NumPy costs 25 MB, and few servers need the conversion.
            from shared.audio.resample import Resampler  # noqa: PLC0415

            self._resampler = Resampler(pcm.RATE, rate)

    def convert(self, captured: bytes) -> bytes:
        """Return audio at the server's rate. The next call goes on where this one ends."""
        if self._resampler is None:
            return captured
        return pcm.from_array(self._resampler.process(pcm.to_array(captured)))
