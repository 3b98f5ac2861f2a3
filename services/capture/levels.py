"""The microphone's level: how loud it is, whether it clips, and whether it gives sound. Pure.

Written without NumPy, which would make this small stage 25 MB larger. A frame costs some 30 µs. Ten
frames are measured together: code that runs only every 20 ms is no longer in the processor's
caches, and takes twice as long per frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import mul

from shared.audio import pcm

HIGHEST, LOWEST = 32767, -32768
#: A microphone that clips has flat tops in its wave: 8 or more samples in a row at the peak. The
#: peak is at full scale, or below it if the limit is before the volume control. Peaks below -30
#: dBFS do not count: a hum of 50 Hz stays at a peak of -30 dBFS for 7 samples, and less long at a
#: higher one.
_FLAT, _LEAST_LIMIT = 8, 1036
#: The power is measured on every fourth sample: a quarter of the work, and the same result.
THINNED = 4
#: Bytes that are measured together: ten frames, 200 ms.
TOGETHER = 10 * pcm.FRAME_BYTES
#: The level of silence, dBFS: 16 bits cannot hold a softer sound.
FLOOR_DBFS = -100


@dataclass(frozen=True)
class Level:
    """The level of the frames since the last ``Levels.take``."""

    peak: int  # the loudest sample, dBFS
    rms: int  # dBFS
    clipped: int  # samples at full scale, and in flat tops below it
    silent_s: int  # seconds for which every sample has been zero, up to now

    def __str__(self) -> str:
        """Return the level as it is shown to people."""
        return f"{self.rms} dBFS, peak {self.peak}"


class Levels:
    """Measures frames of s16le at 24 kHz."""

    def __init__(self) -> None:
        self._peak = 0
        self._power = 0  # sum of the squares of every THINNED-th sample
        self._samples = 0
        self._clipped = 0
        self._silent = 0  # zero samples in a row, up to now
        self._waiting = bytearray()

    def add(self, frame: bytes) -> None:
        """Add a frame."""
        self._waiting += frame
        if len(self._waiting) >= TOGETHER:
            self._measure()

    def take(self) -> Level | None:
        """Return the level of the frames since the last call; None if there were none."""
        if self._waiting:
            self._measure()
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

    def _measure(self) -> None:
        frames = bytes(self._waiting)
        self._waiting.clear()
        length = len(frames) // pcm.SAMPLE_BYTES
        zeros = (len(frames) - len(frames.rstrip(b"\0"))) // pcm.SAMPLE_BYTES
        self._samples += length
        if zeros == length:
            self._silent += zeros
            return
        self._silent = zeros
        samples = memoryview(frames).cast("h").tolist()
        high, low = max(samples), min(samples)
        self._peak = max(self._peak, high, -low)
        thinned = samples[::THINNED]
        self._power += sum(map(mul, thinned, thinned))
        for peak in (high, low):
            if peak in (HIGHEST, LOWEST) or (abs(peak) > _LEAST_LIMIT and _is_flat(frames, peak)):
                self._clipped += samples.count(peak)


def _is_flat(frames: bytes, peak: int) -> bool:
    """Return whether ``peak`` comes _FLAT times in a row."""
    return peak.to_bytes(pcm.SAMPLE_BYTES, "little", signed=True) * _FLAT in frames


def _dbfs(amplitude: float) -> int:
    """Return an amplitude in dB of full scale, rounded."""
    if amplitude <= 0:
        return FLOOR_DBFS
    return max(FLOOR_DBFS, round(20 * math.log10(amplitude / -LOWEST)))
