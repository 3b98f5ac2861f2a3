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

#: NumPy keeps single precision, and its types say that it doubles it.
_rfft = cast("Callable[..., NDArray[np.complex64]]", np.fft.rfft)
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
#: The bins of a voice, 100 to 4000 Hz, show whether the echo's way grows longer: unambiguously up
#: to 3 samples. Two ways less alike than this are of two rooms.
_VOICE = slice(4, 160)
_ALIKE = 0.8


class LinearFilter:
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
        self._weights = np.zeros((PARTS, bins), np.complex64)
        self._doubt = np.empty((PARTS, bins), np.float32)
        first = _FIRST * np.exp(-_FALL * np.arange(PARTS))
        self._first: Samples = first.astype(np.float32)[:, None]
        self._near = np.full(bins, 1e-6, np.float32)
        self._padded: Samples = np.zeros(2 * frame, np.float32)
        # what each frame's arithmetic is done in: to allocate it anew costs as much again
        self._complex = np.empty((PARTS, bins), np.complex64)
        self._real = np.empty((PARTS, bins), np.float32)
        self._turn = 0  # the first of the partitions whose turn it is
        self._before: NDArray[np.complex64] | None = None
        self._bins = np.arange(bins)[_VOICE] * np.float32(np.pi / frame)
        self.forget()

    def forget(self) -> None:
        """Begin anew: the room has changed."""
        self._before = None
        self._weights[:] = 0
        self._doubt[:] = self._first

    def doubt(self) -> None:
        """Do not grow sure that there is no echo."""
        np.maximum(self._doubt, self._first * np.float32(_DOUBTED), out=self._doubt)

    def scale(self, gain: float) -> None:
        """Take the echo for so much louder: somebody has turned the speaker's volume."""
        self._weights *= np.float32(gain)

    def hold_back(self, frames: int) -> None:
        """Look for the echo so many frames later, with what was learnt moved along."""
        moved = frames - self.skip
        if not moved:
            return
        self.skip = frames
        weights, doubt = self._weights.copy(), self._doubt.copy()
        self.forget()
        kept = PARTS - abs(moved)
        if kept > 0:
            to, of = (0, moved) if moved > 0 else (-moved, 0)
            self._weights[to : to + kept] = weights[of : of + kept]
            self._doubt[to : to + kept] = doubt[of : of + kept]

    def lengthened(self) -> float:
        """Give by how many samples the echo's way has grown since this was last asked."""
        now = self._weights[:, _VOICE].copy()
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
        power = np.square(self._weights.real).sum(axis=1) + np.square(self._weights.imag).sum(
            axis=1
        )
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
        np.multiply(spectra, self._weights, out=self._complex)
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
        self._powers[self._newest] = np.square(spectrum.real) + np.square(spectrum.imag)
        return True

    def _learn(
        self,
        spectra: NDArray[np.complex64],
        powers: Samples,
        left: NDArray[np.complex64],
    ) -> None:
        real = self._real
        now = np.square(left.real) + np.square(left.imag)
        self._near *= np.float32(_SMOOTH)
        self._near += np.float32(1 - _SMOOTH) * now
        # a person who begins to speak is believed at once, or the filter would follow their voice
        near = np.maximum(self._near, now)
        # half: of the two frames a spectrum is made of, only one is new
        np.multiply(powers, self._doubt, out=real)
        echo = np.float32(0.5) * real.sum(axis=0)
        self.unsure = float(echo.sum()) / self._frame**2
        near += echo
        near += np.float32(1e-8)
        np.divide(self._doubt, near, out=real)  # the step, per partition and bin
        np.conjugate(spectra, out=self._complex)
        self._complex *= left
        self._complex *= real
        self._weights += self._complex
        real *= powers
        real *= np.float32(-0.5)
        real += np.float32(1)
        self._doubt *= real
        self._look_after()

    def _look_after(self) -> None:
        """See to some partitions: the room may have moved, and a response is a frame long."""
        here = slice(self._turn, self._turn + _IN_TURN)
        self._turn = (self._turn + _IN_TURN) % PARTS
        weights, doubt = self._weights[here], self._doubt[here]
        # only the first half of a partition's response is its own: the other would wrap around
        response = _irfft(weights, axis=1)[:, : self._frame]
        _rfft(response, 2 * self._frame, axis=1, out=weights)
        weights *= np.float32(_STAYS)
        doubt *= np.float32(_STAYS**2)
        power = np.square(weights.real) + np.square(weights.imag)
        doubt += np.float32(1 - _STAYS**2) * power
