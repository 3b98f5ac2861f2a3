"""Everything that needs numpy or a native library: files, resampling, G.711, the detector.

Loading this module takes 0.2 s. The other modules import it inside the functions that need it, so
that the server starts to listen earlier. Audio is 16-bit little-endian mono, at 24 kHz unless a
docstring says otherwise.
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
    """Raised when a recording cannot be decoded. Its text says why."""


class File:
    """A recording that is decoded one block at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises BadFile if it is not a recording at 24 kHz, mono."""
        try:
            self._file = soundfile.SoundFile(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise BadFile(str(error)) from None
        if (self._file.samplerate, self._file.channels) != (RATE, 1):
            self._file.close()
            raise BadFile(f"not {RATE} Hz mono")

    def read(self, samples: int) -> bytes:
        """Return the next samples: fewer at the end of the file, then none. Raises BadFile."""
        try:
            return bytes(self._file.read(samples, dtype="int16").tobytes())
        except soundfile.SoundFileError as error:
            raise BadFile(str(error)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Resampler:
    """Changes the sample rate of audio that arrives in chunks."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        # "LQ" is good enough for speech detection, and delays the audio by 20 ms at most.
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16", quality="LQ")

    def resample(self, pcm: bytes) -> bytes:
        """Return the resampled audio that is ready. The rest follows with the next chunk."""
        return bytes(self._stream.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes())


def silero() -> Callable[[bytes], float]:
    """Return a new Silero detector. It remembers earlier audio, so each session needs its own."""
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
    """Return samples ``start`` to ``stop`` of an exponential sweep that is ``samples`` long.

    The frequency begins at ``low_hz`` and grows by a factor of e in ``1 / growth`` seconds.
    ``amplitude`` is a fraction of full scale. ``fade`` is the length of the fade-in and of the
    fade-out, in samples.
    """
    n = np.arange(start, stop)
    phase = 2 * np.pi * low_hz / growth * np.expm1(growth * n / RATE)
    edge = np.minimum(1.0, np.minimum(n + 1, samples - n) / fade)
    return np.rint(32767 * amplitude * edge * np.sin(phase)).astype(np.int16).tobytes()


def expand(data: bytes, kind: str) -> bytes:
    """Return the PCM at 8 kHz of G.711 at 8 kHz."""
    return _values(kind)[np.frombuffer(data, np.uint8)].tobytes()


def compress(pcm: bytes, kind: str) -> bytes:
    """Return G.711 at 8 kHz of PCM at 24 kHz: for each sample, the code of the nearest value."""
    low = soxr.resample(np.frombuffer(pcm, np.int16), RATE, 8000)
    order, boundaries = _boundaries(kind)
    return bytes(order[np.searchsorted(boundaries, low.astype(np.int32))].tobytes())


@functools.cache
def _values(kind: str) -> NDArray[np.int16]:
    """Return the 256 linear values of a law of ITU-T G.711, by code."""
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
    """Return the codes in the order of their values, and the midpoints between these values."""
    table = _values(kind).astype(np.int32)
    order = np.argsort(table, kind="stable")
    values = table[order]
    return order.astype(np.uint8), (values[:-1] + values[1:] + 1) // 2
