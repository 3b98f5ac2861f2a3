"""Audio on the wire: PCM at 24 kHz, which is sent as it is, and G.711 at 8 kHz.

Inside the emulator all audio is 16-bit little-endian mono at 24 kHz.
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
    """Decodes a client's audio, one chunk at a time, to PCM at 24 kHz."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        #: Half a sample from the end of the last chunk, or nothing.
        self._odd = b""
        self._resampler: Resampler | None = None

    def decode(self, text: str, param: str = "audio") -> bytes:
        """Return the PCM of one chunk of base64. Half a sample waits for the next chunk.

        Raises Refused, with the service's text and ``param``, if the text is not base64.
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
        from services.emulator import sound  # noqa: PLC0415 (slow to load, and rarely needed)

        if self._resampler is None:
            self._resampler = sound.Resampler(8000, 24000)
        return self._resampler.resample(sound.expand(data, self.kind))


def encode(pcm: bytes, kind: str) -> bytes:
    """Return PCM at 24 kHz in the wire format ``kind``."""
    if kind == PCM:
        return pcm
    from services.emulator import sound  # noqa: PLC0415 (slow to load, and rarely needed)

    return sound.compress(pcm, kind)


def encode_base64(pcm: bytes, kind: str) -> str:
    """Return PCM at 24 kHz as the base64 text of the wire format ``kind``."""
    return base64.b64encode(encode(pcm, kind)).decode("ascii")
