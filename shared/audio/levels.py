"""How loud the microphone is, whether it clips, and whether it is there at all. Pure.

Without NumPy: a frame costs some 30 µs, and a stage that needs it for nothing else stays small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import mul

from shared.audio import pcm

HIGHEST, LOWEST = 32767, -32768
#: The power is that of every fourth sample: as good, and a quarter of the work.
THINNED = 4
#: What is shown for silence.
FLOOR_DBFS = -100


@dataclass(frozen=True)
class Level:
    """What was heard since the last one was taken."""

    peak: int  # the loudest sample, dBFS
    rms: int  # dBFS
    clipped: int  # samples at full scale
    silent_s: int  # for how long every sample has been zero, up to now

    def __str__(self) -> str:
        """Give it as a person reads it."""
        return f"{self.rms} dBFS, peak {self.peak}"


class Levels:
    """Adds frames up, each of s16le at 24 kHz."""

    def __init__(self) -> None:
        self._peak = 0
        self._power = 0
        self._samples = 0
        self._clipped = 0
        self._silent = 0  # samples

    def put(self, frame: bytes) -> None:
        """Add a frame."""
        samples = memoryview(frame).cast("h").tolist()
        high, low = max(samples), min(samples)
        self._samples += len(samples)
        if high == low == 0:
            self._silent += len(samples)
            return
        self._silent = 0
        self._peak = max(self._peak, high, -low)
        some = samples[::THINNED]
        self._power += sum(map(mul, some, some))
        if high == HIGHEST or low == LOWEST:
            self._clipped += sum(sample in (HIGHEST, LOWEST) for sample in samples)

    def take(self) -> Level | None:
        """Give the level of what was added since, and begin anew; None where nothing was."""
        if not self._samples:
            return None
        level = Level(
            _dbfs(self._peak),
            _dbfs(math.sqrt(self._power * THINNED / self._samples)),
            self._clipped,
            self._silent // pcm.RATE,
        )
        self._peak = self._power = self._samples = self._clipped = 0
        return level


def _dbfs(amplitude: float) -> int:
    """Give an amplitude in dB of full scale, rounded."""
    if amplitude <= 0:
        return FLOOR_DBFS
    return max(FLOOR_DBFS, round(20 * math.log10(amplitude / -LOWEST)))
