# ruff: noqa: PLC0415 - NumPy costs a process 25 MB, and many need only the constants
"""The one audio format on the bus: mono, signed 16-bit little-endian, 24 kHz; and its arithmetic.

Times are whole ms or ns, lengths are whole samples. Every conversion rounds down, so that no sample
counts as heard before it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 24_000  # samples a second
FRAME = 480  # samples in a frame: 20 ms
SAMPLE_BYTES = 2
#: The rates that a server's audio can have, Hz.
LOWEST_RATE, HIGHEST_RATE = 8000, 48_000
FRAME_BYTES = FRAME * SAMPLE_BYTES

#: The level of silence, dBFS: finite, so that it can be written as JSON, and below the softest
#: sound that 16 bits hold.
SILENCE_DBFS = -100.0


def ms_to_samples(ms: int) -> int:
    """Return how many whole samples fit into ``ms``."""
    return ms * RATE // 1000


def samples_to_ms(samples: int) -> int:
    """Return how many whole ms ``samples`` last."""
    return samples * 1000 // RATE


def samples_to_ns(samples: int) -> int:
    """Return how many whole ns ``samples`` last."""
    return samples * 1_000_000_000 // RATE


def ns_to_samples(ns: int) -> int:
    """Return how many whole samples fit into ``ns``."""
    return ns * RATE // 1_000_000_000


def to_array(pcm: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Return the samples of ``pcm`` as a read-only view.

    Raises ValueError if the last sample is incomplete.
    """
    import numpy as np

    view = np.frombuffer(pcm, dtype="<i2")
    view.flags.writeable = False
    return view


def from_array(samples: NDArray[np.int16]) -> bytes:
    """Return an int16 array as PCM."""
    return samples.astype("<i2", copy=False).tobytes()


def dbfs(pcm: bytes | bytearray | memoryview) -> float:
    """Return the RMS level in dB of full scale: 0 for a full square wave, -3 for a full sine."""
    import numpy as np

    samples = to_array(pcm)
    if not len(samples):
        return SILENCE_DBFS
    power = float(np.square(samples, dtype=np.float64).mean())
    if power == 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, 10 * float(np.log10(power / 32768**2)))
