"""The rising tone, whose pitch tells the position.

The tone is an exponential sweep over the whole reply, so that every semitone lasts equally long:

    f(t) = LOW_HZ * (HIGH_HZ / LOW_HZ) ** (t / duration)

If a recording of the tone stops at a pitch, playback stopped at ``position_ms(pitch,
duration_ms)``. This module imports only the standard library, so that a measuring program can
import it without numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

RATE: Final = 24000
LOW_HZ: Final = 300.0
HIGH_HZ: Final = 3400.0
#: Fraction of full scale: -10 dBFS.
AMPLITUDE: Final = 0.316
#: Length of the fade-in and of the fade-out, ms. Without them the tone would click at its ends.
FADE_MS: Final = 5


def frequency_hz(position_ms: float, duration_ms: float) -> float:
    """Return the pitch at a position, Hz."""
    return LOW_HZ * math.pow(HIGH_HZ / LOW_HZ, position_ms / duration_ms)


def position_ms(frequency: float, duration_ms: float) -> float:
    """Return the position of a pitch, ms: the inverse of ``frequency_hz``."""
    return duration_ms * math.log(frequency / LOW_HZ) / math.log(HIGH_HZ / LOW_HZ)


@dataclass(frozen=True)
class Tone:
    """The rising tone as a source of audio at 24 kHz."""

    #: The length of the tone.
    samples: int

    def read(self, start: int, stop: int) -> bytes:
        """Return samples ``start`` to ``stop`` as 16-bit little-endian mono."""
        from services.emulator import sound  # noqa: PLC0415 (slow to load, so not at the start)

        # The frequency grows by a factor of e in 1 / growth seconds.
        growth = math.log(HIGH_HZ / LOW_HZ) * RATE / self.samples
        return sound.sweep(
            start,
            stop,
            samples=self.samples,
            low_hz=LOW_HZ,
            growth=growth,
            amplitude=AMPLITUDE,
            fade=FADE_MS * RATE // 1000,
        )
