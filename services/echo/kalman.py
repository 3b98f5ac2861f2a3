"""The linear part of the echo: a frequency-domain Kalman filter in partitions. Pure.

It learns the way from the speaker to the microphone, some hundred ms of impulse response, and gives
what is left of the microphone without it. A Kalman filter knows how sure it is of each part of that
way, so it learns fast at first and does not forget while the person speaks as well.

After Enzner and Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control in
hands-free telephones", Signal Processing 86 (2006), in partitions as in Kuech et al., ICASSP 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Spectra = NDArray[np.complex64]

#: NumPy keeps single precision, and its types say that it doubles it.
_rfft = cast("Callable[..., Spectra]", np.fft.rfft)
_irfft = cast("Callable[..., Samples]", np.fft.irfft)

#: Partitions of one frame each: 20 of them are 400 ms of the room.
PARTS = 20
#: Frames by which the far end can be held back before it comes to the filter: a second.
MAX_SKIP = 50
#: Partitions that are looked after in a frame, in turn: all of them within five frames.
_IN_TURN = 4
#: How much of what is known of the room is still true a frame later: 0.999 follows clocks that
#: drift by 20 ppm and costs 2 dB where nothing moves. Here, from turn to turn.
_STAYS = 0.999 ** (PARTS // _IN_TURN)
#: What the room may be at first: a gain of 0.05 in power, falling by 0.4 dB from frame to frame.
_FIRST, _FALL = 0.05, 0.1
#: How much of that may still be where there has been no echo: headphones can be plugged out.
_DOUBTED = 0.2
_SMOOTH = 0.7  # of the near end's spectrum, from frame to frame
#: A partition this far below the strongest one holds no echo.
_EMPTY = 0.02
#: How far the echo may jump and still be known by its room, frames; what is nearer than this to
#: where it was, samples, is no jump.
_FURTHEST = 15
_NEAREST = 24
#: The bins of a voice, 100 to 4000 Hz, show whether the echo's way grows longer: unambiguously up
#: to 3 samples. Two ways less alike than this are of two rooms.
_VOICE = slice(4, 160)
_ALIKE = 0.8


class KalmanFilter:
    """Learns and takes away the linear echo, ``frame`` samples at a time, full scale 1."""

    def __init__(self, frame: int) -> None:
        self._frame = frame
        bins = frame + 1
        self.skip = 0  # frames by which the far end is held back
        self.unsure = 0.0  # how much echo may still be in what was left last, power
        self._far: Samples = np.zeros(2 * frame, np.float32)
        self._spectra = np.zeros((2 * (PARTS + MAX_SKIP), bins), np.complex64)
        self._powers = np.zeros((2 * (PARTS + MAX_SKIP), bins), np.float32)
        self._newest = PARTS + MAX_SKIP
        self._silent = 0  # frames in a row without a far end
        self.weights = np.zeros((PARTS, bins), np.complex64)  # the echo's way, as far as known
        self.doubts = np.empty((PARTS, bins), np.float32)  # and how unsure that is, power
        first = _FIRST * np.exp(-_FALL * np.arange(PARTS))
        self._first: Samples = first.astype(np.float32)[:, None]
        self._near = np.full(bins, 1e-6, np.float32)
        self._padded: Samples = np.zeros(2 * frame, np.float32)
        # what each frame's arithmetic is done in: to allocate it anew costs as much again
        self._complex = np.empty((PARTS, bins), np.complex64)
        self._real = np.empty((PARTS, bins), np.float32)
        self._turn = 0  # the first of the partitions whose turn it is
        self._before: Spectra | None = None
        self._bins = np.arange(bins)[_VOICE] * np.float32(np.pi / frame)
        self.forget()

    def forget(self) -> None:
        """Begin anew: the room has changed."""
        self._before = None
        self.weights[:] = 0
        self.doubts[:] = self._first

    def doubt(self) -> None:
        """Do not grow sure that there is no echo."""
        np.maximum(self.doubts, self._first * np.float32(_DOUBTED), out=self.doubts)

    def scale(self, gain: float) -> None:
        """Take the echo for so much louder: somebody has turned the speaker's volume."""
        self.weights *= np.float32(gain)

    def hold_back(self, frames: int) -> None:
        """Look for the echo so many frames later, with what was learnt moved along."""
        moved = frames - self.skip
        if not moved:
            return
        self.skip = frames
        weights, doubt = self.weights.copy(), self.doubts.copy()
        self.forget()
        kept = PARTS - abs(moved)
        if kept > 0:
            to, of = (0, moved) if moved > 0 else (-moved, 0)
            self.weights[to : to + kept] = weights[of : of + kept]
            self.doubts[to : to + kept] = doubt[of : of + kept]

    def elsewhere(self, near: Samples) -> tuple[int, float]:
        """Say by how many samples the echo in the last frame seems later, and how like it is.

        At most 300 ms; like: 1 where the frame is what was learnt of the room, at that time, and
        nothing else; 0 where it is most like where the echo was. To be asked after ``process``.
        """
        line = np.concatenate([self._echo_of(at) for at in range(_FURTHEST, -_FURTHEST - 1, -1)])
        size = 1 << (len(line) + self._frame).bit_length()
        products = np.fft.irfft(np.fft.rfft(line, size) * np.conj(np.fft.rfft(near, size)))
        sums = np.concatenate(([0.0], np.cumsum(np.square(line, dtype=np.float64))))
        powers = sums[self._frame :] - sums[: -self._frame]
        # where the line is all but silent anything is like it
        powers = np.maximum(powers, 1e-3 * powers.max() + 1e-12)
        alike = products[: len(powers)] / np.sqrt(powers * float(np.dot(near, near)) + 1e-12)
        at = int(np.argmax(alike))
        later = _FURTHEST * self._frame - at
        return later, float(alike[at]) if abs(later) > _NEAREST else 0.0

    def move(self, by: int) -> None:
        """Look for the same echo so many samples later."""
        frame = self._frame
        response = _irfft(self.weights, axis=1)[:, :frame].reshape(-1)
        skip = min(MAX_SKIP, max(0, self.skip + by // frame))
        by -= (skip - self.skip) * frame
        moved = np.zeros_like(response)
        kept = max(0, len(response) - abs(by))
        moved[max(0, by) : max(0, by) + kept] = response[max(0, -by) : max(0, -by) + kept]
        self.skip, self._before = skip, None
        _rfft(moved.reshape(PARTS, frame), 2 * frame, axis=1, out=self.weights)
        # by part of a sample it may be off: an angle of so much, in the mean
        off = np.square(np.arange(frame + 1) * np.pi / frame) / 12
        self.doubts += off.astype(np.float32) * _power(self.weights)
        self.doubt()

    def lengthened(self) -> float:
        """Give by how many samples the echo's way has grown since this was last asked."""
        now = self.weights[:, _VOICE].copy()
        before, self._before = self._before, now
        if before is None:
            return 0.0
        turned = np.einsum("pk,pk->k", now, before.conj())
        weight = np.abs(turned)
        both = np.linalg.norm(now) * np.linalg.norm(before)
        if float(weight.sum()) <= _ALIKE * float(both):
            return 0.0
        weight *= self._bins
        angle = np.angle(turned)
        return -float(np.dot(weight, angle) / np.dot(weight, self._bins))

    def empty_parts(self) -> int:
        """Give how many of the first partitions hold no echo worth the name."""
        power = _power(self.weights).sum(axis=1)
        heard = np.flatnonzero(power > _EMPTY * power.max())
        return int(heard[0]) if len(heard) else 0

    def process(self, near: Samples, far: Samples) -> Samples:
        """Take a frame of the microphone and of the far end; give what is left of the first.

        Once the far end has been silent for longer than the filter remembers, nothing is done, and
        nothing forgotten: most of a conversation is listening.
        """
        if not self.hear(far):
            return near
        frame = self._frame
        begin = self._newest + self.skip
        spectra = self._spectra[begin : begin + PARTS]
        powers = self._powers[begin : begin + PARTS]
        np.multiply(spectra, self.weights, out=self._complex)
        echo = _irfft(self._complex.sum(axis=0))[frame:]
        left: Samples = near - echo
        self._padded[frame:] = left
        self._learn(spectra, powers, _rfft(self._padded))
        return left

    def hear(self, far: Samples) -> bool:
        """Take a frame of the far end alone; say whether anything of it can still be heard."""
        frame = self._frame
        self._silent = 0 if far.any() else self._silent + 1
        if self._silent > PARTS + MAX_SKIP + 1:
            return False
        self._far[:frame] = self._far[frame:]
        self._far[frame:] = far
        # the newest spectrum comes first; once in a while the others move back to make room
        self._newest -= 1
        if self._newest < 0:
            self._newest = PARTS + MAX_SKIP
            for ring in (self._spectra, self._powers):
                ring[self._newest + 1 :] = ring[: PARTS + MAX_SKIP - 1]
        spectrum = _rfft(self._far, out=self._spectra[self._newest])
        self._powers[self._newest] = _power(spectrum)
        return True

    def _echo_of(self, back: int) -> Samples:
        """Give the echo in the frame so many before the last; of those to come, what is known."""
        begin = self._newest + self.skip + back
        ahead = max(0, self._newest - begin)
        spectra = self._spectra[begin + ahead : begin + PARTS]
        return _irfft(np.einsum("pk,pk->k", spectra, self.weights[ahead:]))[self._frame :]

    def _learn(self, spectra: Spectra, powers: Samples, left: Spectra) -> None:
        real = self._real
        now = _power(left)
        self._near *= np.float32(_SMOOTH)
        self._near += np.float32(1 - _SMOOTH) * now
        # a person who begins to speak is believed at once, or the filter would follow their voice
        near = np.maximum(self._near, now)
        # half: of the two frames a spectrum is made of, only one is new
        np.multiply(powers, self.doubts, out=real)
        echo = np.float32(0.5) * real.sum(axis=0)
        self.unsure = float(echo.sum()) / self._frame**2
        near += echo
        near += np.float32(1e-8)
        np.divide(self.doubts, near, out=real)  # the step, per partition and bin
        np.conjugate(spectra, out=self._complex)
        self._complex *= left
        self._complex *= real
        self.weights += self._complex
        real *= powers
        real *= np.float32(-0.5)
        real += np.float32(1)
        self.doubts *= real
        self._look_after()

    def _look_after(self) -> None:
        """See to some partitions: the room may have moved, and a response is a frame long."""
        here = slice(self._turn, self._turn + _IN_TURN)
        self._turn = (self._turn + _IN_TURN) % PARTS
        weights, doubt = self.weights[here], self.doubts[here]
        # only the first half of a partition's response is its own: the other would wrap around
        response = _irfft(weights, axis=1)[:, : self._frame]
        _rfft(response, 2 * self._frame, axis=1, out=weights)
        weights *= np.float32(_STAYS)
        doubt *= np.float32(_STAYS**2)
        doubt += np.float32(1 - _STAYS**2) * _power(weights)


def _power(spectra: Spectra) -> Samples:
    return np.square(spectra.real) + np.square(spectra.imag)
