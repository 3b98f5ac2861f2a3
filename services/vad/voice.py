"""When someone begins and ends to speak, by Silero's detector. Pure but for the detector.

The detector takes 32 ms at 16 kHz; one window that is sure is an onset, as each more would be 32 ms
later. Windows that are no louder than the room's noise are not shown to it: most of a conversation
is listening, and the detector, with the resampling for it, is the dearest part of the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.audio import pcm
from shared.audio.resample import Resampler

_RATE = 16_000
WINDOW = 512  # samples at 16 kHz: 32 ms
_WINDOW_BYTES = WINDOW * pcm.RATE // _RATE * pcm.SAMPLE_BYTES  # of what comes
_WINDOW_NS = WINDOW * 1_000_000_000 // _RATE
_HYSTERESIS = 0.15  # speech goes on until the detector is so much less sure, as in Silero's code
#: Louder than the noise by 6 dB is worth a look, and so is the second that follows.
_LOUDER = 4.0
_LOOK = 31
#: Noise rises by 3 dB a second; what is softer than -66 dBFS is silence whatever the noise is.
_NOISE_RISES = 10**0.01
_SOFTEST = 16.0**2

Probability = Callable[[bytes], float]


@dataclass(frozen=True)
class Change:
    """Someone began or ended to speak."""

    speaking: bool
    at_ns: int  # when, of the audio


class Voice:
    """Follows one stream of frames, mono s16le at 24 kHz."""

    def __init__(self, detector: Probability, threshold: float, silence_ms: int) -> None:
        self.speaking = False
        self.looked = 0  # windows shown to the detector
        self.until_ns = 0  # while speaking: up to when someone surely has
        self._detector = detector
        self._threshold = threshold
        self._silence_ns = silence_ms * 1_000_000
        self._resampler = Resampler(pcm.RATE, _RATE)
        self._waiting = bytearray()  # what does not fill a window yet
        self._noise = _SOFTEST
        self._look = 0
        self._quiet_ns = 0  # since when it is quiet, in speech; 0: it is not

    def take(self, frame: bytes, captured_ns: int) -> list[Change]:
        """Take a frame whose first sample was heard at ``captured_ns``; give what changed in it."""
        # by each frame anew: what was lost in between has taken its time as well
        waiting = self._waiting
        begin_ns = captured_ns - self._resampler.delay_ns
        begin_ns -= pcm.samples_to_ns(len(waiting) // pcm.SAMPLE_BYTES)
        waiting += frame
        changes = []
        while len(waiting) >= _WINDOW_BYTES:
            change = self._hear(pcm.to_array(bytes(waiting[:_WINDOW_BYTES])), begin_ns)
            del waiting[:_WINDOW_BYTES]
            if change is not None:
                changes.append(change)
            begin_ns += _WINDOW_NS
        return changes

    def _hear(self, window: NDArray[np.int16], at_ns: int) -> Change | None:
        floats = window.astype(np.float32)
        power = float(np.dot(floats, floats)) / len(window)
        if power > max(_SOFTEST, _LOUDER * self._noise):
            self._look = _LOOK
        self._noise = max(1.0, min(power, self._noise * _NOISE_RISES))
        probability = 0.0
        if self._look or self.speaking:
            self._look = max(0, self._look - 1)
            self.looked += 1
            probability = self._detector(self._resampler.process(window).tobytes())
        else:
            self._resampler.skip(window)
        ends_ns = at_ns + _WINDOW_NS
        if not self.speaking:
            if probability < self._threshold:
                return None
            self.speaking, self._quiet_ns = True, 0
            self.until_ns = ends_ns
            return Change(True, at_ns)
        if probability >= self._threshold:
            self._quiet_ns = 0
        elif not self._quiet_ns and probability < max(self._threshold - _HYSTERESIS, 0.01):
            self._quiet_ns = at_ns
        if not self._quiet_ns:
            self.until_ns = ends_ns
        if not self._quiet_ns or ends_ns - self._quiet_ns < self._silence_ns:
            return None
        self.speaking = False
        return Change(False, self._quiet_ns)
