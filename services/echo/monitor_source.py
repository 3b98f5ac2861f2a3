"""Finds out whether the microphone is a monitor: a source that copies the speaker's sound. Pure.

The stage ``monitor`` has nothing to do with it: sound servers call such a source a monitor. They
list one beside each speaker, and it can be the default microphone. Then no person is ever heard.
Two observations together prove a monitor: all samples are zero while nothing is played, and the far
end matches sample by sample while something is played. A microphone has noise. A microphone whose
driver silences pauses hears the far end in a room, with reflections.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from services.echo.aligner import Aligned
from services.echo.kalman import MAX_DELAY
from services.echo.spectra import Samples, correlate
from shared.audio.pcm import FRAME, to_array
from shared.faults import Fault

#: Frames of zeros that are believed, 0.5 s. A resampler that dithers makes zeros ±1.
_BELIEVED, _DITHER = 25, 1
#: Frames of the microphone that are compared with the far end, 0.5 s: some syllables. They may come
#: up to 0.1 s before it (the devices' stamps can be that far off), and up to MAX_DELAY after it.
_COMPARED, _SOONER = 25, 5
_KEPT = MAX_DELAY + _COMPARED + _SOONER
#: The path of a monitor is a volume and a delay, with a resampler's few taps. So 16 taps around the
#: delay, 0.7 ms, explain all but 0.3 % of the power (-25 dB).
_TAPS, _REST = 16, 0.003
#: A microphone whose mean power is below -70 dBFS, full scale 1, is not compared: it would be
#: blurred by the rounding to 16 bits, -101 dBFS.
_LOUD = 1e-7

MONITOR = Fault(
    "monitor_s",
    "the microphone is the speaker's own monitor",
    "the microphone is the speaker's own monitor: it hears what the speaker plays, and no person."
    " Choose another one with capture.device (see bargein devices) or in the system's settings",
    "the microphone is no longer the speaker's monitor",
)


class MonitorSourceCheck:
    """Follows a microphone and the far end, frame by frame."""

    def __init__(self) -> None:
        self._copies = False  # whether the far end matched sample by sample, since the last noise
        self._noisy = False  # whether the last frame with a silent far end was not all zeros
        self._silent = MAX_DELAY  # frames for which the far end has been silent
        #: Whether each of the last frames with a silent far end was all zeros. Each counts only
        #: after _SOONER more silent frames: a frame may come sooner than its far end.
        self._quiet: deque[bool] = deque()
        self._zeros = 0  # such frames in a row, up to _BELIEVED
        self._sounds = 0  # frames with a far end since the last comparison
        self._near: deque[Samples] = deque(maxlen=_KEPT)
        self._far: deque[Samples] = deque(maxlen=_KEPT)

    @property
    def found(self) -> bool:
        """Whether the microphone is the speaker's monitor."""
        return self._copies and self._zeros >= _BELIEVED

    def add(self, aligned: Aligned) -> None:
        """Add a frame of the microphone with its far end."""
        if aligned.lost or aligned.realigned:
            self._near.clear()
            self._far.clear()
            return
        sounds = bool(aligned.far.any())
        self._silent = 0 if sounds else self._silent + 1
        if sounds:
            self._quiet.clear()
        elif self._silent > MAX_DELAY:
            samples = to_array(aligned.frame.payload)
            self._quiet.append(bool(samples.max() <= _DITHER and samples.min() >= -_DITHER))
        if len(self._quiet) > _SOONER:
            self._noisy = not self._quiet.popleft()
            self._zeros = 0 if self._noisy else min(_BELIEVED, self._zeros + 1)
            self._copies &= not self._noisy
        if self._noisy or self.found:
            return
        self._near.append(to_array(aligned.frame.payload).astype(np.float32) / np.float32(32768))
        self._far.append(aligned.far)
        self._sounds += sounds
        if self._sounds >= _COMPARED and len(self._far) == _KEPT:
            self._sounds = 0
            self._copies = is_copy(np.concatenate(self._near), np.concatenate(self._far))


def is_copy(near: Samples, far: Samples) -> bool:
    """Return whether ``near`` holds the far end, delayed and with one gain.

    Both are _KEPT frames of the same time. All but the first MAX_DELAY and the last _SOONER frames
    of ``near`` are compared.
    """
    begin, length = MAX_DELAY * FRAME, _COMPARED * FRAME
    near = near[begin : begin + length]
    power = float(np.dot(near, near))
    if power < _LOUD * length:
        return False
    at = _place(near, far)
    taps = np.lib.stride_tricks.sliding_window_view(far, _TAPS)
    first = at - _TAPS // 2
    if not 0 <= first <= len(taps) - length:
        return False
    taps = taps[first : first + length].astype(np.float64)
    path, *_ = np.linalg.lstsq(taps.T @ taps, taps.T @ near, rcond=1e-9)
    rest = near - taps @ path
    return float(np.dot(rest, rest)) < _REST * power


def _place(near: Samples, far: Samples) -> int:
    """Return where in ``far`` the samples ``near`` are found, or most likely are."""
    products, powers = correlate(far, near)
    return int(np.argmax(np.square(products) / powers))
