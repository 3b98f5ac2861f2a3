"""Audio on the wire: 24 kHz PCM as it is, 8 kHz G.711 companded and resampled.

Inside the emulator audio is always 16-bit little-endian mono at 24 kHz.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from services.emulator.schema import Refused

if TYPE_CHECKING:
    from services.emulator.sound import Resampler

PCM: Final = "audio/pcm"
#: Bytes per second by format type.
BYTES_PER_S: Final = {PCM: 48000, "audio/pcmu": 8000, "audio/pcma": 8000}


class Decoder:
    """Turns a client's audio into PCM at 24 kHz, a stretch at a time."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._odd = b""
        self._resampler: Resampler | None = None

    def decode(self, text: str, param: str = "audio") -> bytes:
        """Give the PCM of one stretch of base64; half a sample waits for the next stretch.

        Raises Refused, in the service's words, naming ``param``.
        """
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(
                "invalid_value",
                f"Invalid '{param}'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but"
                " got an invalid value.",
                param,
            ) from None
        if self.kind == PCM:
            data = self._odd + data
            whole = len(data) & ~1
            self._odd = data[whole:]
            return data[:whole]
        from services.emulator import sound  # noqa: PLC0415 (slow to load, and seldom needed)

        if self._resampler is None:
            self._resampler = sound.Resampler(8000, 24000)
        return self._resampler.resample(sound.expand(data, self.kind))


def encode(pcm: bytes, kind: str) -> bytes:
    """Give PCM at 24 kHz in a wire format."""
    if kind == PCM:
        return pcm
    from services.emulator import sound  # noqa: PLC0415 (slow to load, and seldom needed)

    return sound.compress(pcm, kind)


def encode_base64(pcm: bytes, kind: str) -> str:
    """Give PCM at 24 kHz in a wire format, as text."""
    return base64.b64encode(encode(pcm, kind)).decode("ascii")
