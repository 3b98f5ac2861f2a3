"""The rising tone: its pitch tells the position.

An exponential sweep over the whole reply, so that a semitone lasts equally long everywhere:

    f(t) = LOW_HZ * (HIGH_HZ / LOW_HZ) ** (t / duration)

A recording of it that stops at a pitch was cut off at ``position_ms(pitch, duration_ms)``.
Importing this module loads nothing but the standard library, so that whoever measures can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

RATE: Final = 24000
LOW_HZ: Final = 300.0
HIGH_HZ: Final = 3400.0
#: Of full scale; -10 dBFS.
AMPLITUDE: Final = 0.316
#: At both ends, so that the tone itself never clicks, ms.
FADE_MS: Final = 5


def frequency_hz(position_ms: float, duration_ms: float) -> float:
    """Give the pitch at a position."""
    return LOW_HZ * math.pow(HIGH_HZ / LOW_HZ, position_ms / duration_ms)


def position_ms(frequency: float, duration_ms: float) -> float:
    """Give the position of a pitch in Hz: the inverse of ``frequency_hz``."""
    return duration_ms * math.log(frequency / LOW_HZ) / math.log(HIGH_HZ / LOW_HZ)


@dataclass(frozen=True)
class Tone:
    """A sweep of so many samples at 24 kHz."""

    samples: int

    def read(self, start: int, stop: int) -> bytes:
        """Give samples ``start`` to ``stop`` as 16-bit little-endian mono."""
        from services.emulator import sound  # noqa: PLC0415 (slow to load, the start waits for it)

        # The phase is the integral of the frequency, which grows by e in 1 / growth seconds.
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
