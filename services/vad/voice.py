"""When somebody begins and stops speaking, by Silero's detector. Pure but for the detector.

The detector takes windows of 32 ms at 16 kHz. One window over the threshold is an onset: waiting
for a second one would make each onset 32 ms later. Windows that are no louder than the room's noise
are not shown to the detector: during most of a conversation nobody speaks, and the detector and its
resampling are the most expensive part of the pipeline.

The detector remembers what it has heard. After a series of noises it can take half a sentence for
one more noise. So the detector is reset where windows were left out: the sound that it remembers
there is not the sound just before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.audio import pcm
from shared.audio.resample import Resampler

#: The rate that the detector takes, Hz.
_RATE = 16_000
#: Samples at 16 kHz in one of the detector's windows: 32 ms.
WINDOW = 512
#: The same window at 24 kHz, as it arrives, in samples and in bytes.
_WINDOW_SAMPLES = WINDOW * pcm.RATE // _RATE
_WINDOW_BYTES = _WINDOW_SAMPLES * pcm.SAMPLE_BYTES
_WINDOW_NS = WINDOW * 1_000_000_000 // _RATE
#: Speech goes on until the probability is this much below the threshold, as in Silero's own code.
_HYSTERESIS = 0.15
#: The least threshold for the end of speech: without it a low ``vad.threshold`` would never end it.
_LEAST_END = 0.01
#: A window with more than 4 times the noise's power, 6 dB, is shown to the detector, and so are the
#: windows of the second that follows: a word may begin softly.
_LOUDER = 4.0
_SHOWN = 31
#: The noise estimate rises by 0.1 dB a window, 3 dB a second, so that speech does not become noise.
_NOISE_RISES = 10**0.01
#: A window below this power, -66 dBFS, is silence, however quiet the room is. The noise estimate is
#: at least the power of one step of 16 bits.
_SOFTEST = 16.0**2
_LEAST_NOISE = 1.0


class Detector(Protocol):
    """Silero's detector."""

    def __call__(self, window: bytes, /) -> float:
        """Return the probability of speech in a window of WINDOW samples, s16le at 16 kHz."""

    def reset(self) -> None:
        """Forget the windows before."""


@dataclass(frozen=True)
class Change:
    """Somebody began or stopped speaking."""

    speaking: bool
    at_ns: int  # the time of the audio, monotonic


class Voice:
    """Follows the speech in one stream of frames, mono s16le at 24 kHz.

    ``threshold``: the probability from which a window is speech. ``silence_ms``: the silence that
    ends speech. ``position``: the position of the first frame in the microphone's stream. Windows
    begin at multiples of their length in that stream, so that a detector that starts later, as in a
    replay, finds the same onsets.
    """

    def __init__(
        self, detector: Detector, threshold: float, silence_ms: int, position: int = 0
    ) -> None:
        self.speaking = False
        self.windows = 0  # shown to the detector
        #: Up to when the current speech has certainly gone on, monotonic ns of the audio.
        self.until_ns = 0
        self._detector = detector
        self._threshold = threshold
        self._silence_ns = silence_ms * 1_000_000
        self._resampler = Resampler(pcm.RATE, _RATE)
        self._waiting = bytearray()  # less than a window
        self._skip = -position % _WINDOW_SAMPLES  # samples to leave out until a window begins
        self._noise = _SOFTEST  # mean power, in steps of 16 bits
        self._to_show = 0  # windows that are shown, however quiet they are
        self._quiet_ns = 0  # when the pause in the speech began; 0: there is none

    def take(self, frame: bytes, captured_ns: int) -> list[Change]:
        """Take a frame; return what changed in it.

        ``captured_ns`` is when the frame's first sample was at the converter. Frames may have any
        length.
        """
        if self._skip:
            skipped = min(self._skip, len(frame) // pcm.SAMPLE_BYTES)
            frame = frame[skipped * pcm.SAMPLE_BYTES :]
            captured_ns += pcm.samples_to_ns(skipped)
            self._skip -= skipped
        # Computed from each frame, not added up: time passes in a gap between frames as well.
        waiting = self._waiting
        begin_ns = captured_ns - self._resampler.delay_ns
        begin_ns -= pcm.samples_to_ns(len(waiting) // pcm.SAMPLE_BYTES)
        waiting += frame
        changes = []
        while len(waiting) >= _WINDOW_BYTES:
            change = self._take_window(pcm.to_array(bytes(waiting[:_WINDOW_BYTES])), begin_ns)
            del waiting[:_WINDOW_BYTES]
            if change is not None:
                changes.append(change)
            begin_ns += _WINDOW_NS
        return changes

    def _take_window(self, window: NDArray[np.int16], at_ns: int) -> Change | None:
        probability = self._probability(window)
        ends_ns = at_ns + _WINDOW_NS
        if not self.speaking:
            if probability < self._threshold:
                return None
            self.speaking, self._quiet_ns = True, 0
            self.until_ns = ends_ns
            return Change(True, at_ns)
        if probability >= self._threshold:
            self._quiet_ns = 0
        elif not self._quiet_ns and probability < max(self._threshold - _HYSTERESIS, _LEAST_END):
            self._quiet_ns = at_ns
        if not self._quiet_ns:
            self.until_ns = ends_ns
        if not self._quiet_ns or ends_ns - self._quiet_ns < self._silence_ns:
            return None
        self.speaking = False
        return Change(False, self._quiet_ns)

    def _probability(self, window: NDArray[np.int16]) -> float:
        """Return the probability of speech in a window; 0 if the detector is not shown it."""
        floats = window.astype(np.float32)
        power = float(np.dot(floats, floats)) / len(window)
        if power > max(_SOFTEST, _LOUDER * self._noise):
            if not (self._to_show or self.speaking):
                self._detector.reset()
            self._to_show = _SHOWN
        self._noise = max(_LEAST_NOISE, min(power, self._noise * _NOISE_RISES))
        if not (self._to_show or self.speaking):
            self._resampler.skip(window)
            return 0.0
        self._to_show = max(0, self._to_show - 1)
        self.windows += 1
        return self._detector(self._resampler.process(window).tobytes())
