"""The linear echo filter: a partitioned Kalman filter in the frequency domain. Pure.

The filter learns the echo path, the impulse response from the speaker to the microphone (some
hundred ms), and subtracts the echo that it predicts. For each part of the path it also estimates
how uncertain that part is. So it learns fast at first, and does not forget the path while a person
speaks as well.

After Enzner and Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control in
hands-free telephones", Signal Processing 86 (2006), in partitions as in Kuech et al., ICASSP 2014.
"""

from __future__ import annotations

import numpy as np

from services.echo.bound import PathBound
from services.echo.spectra import FarSpectra, Samples, Spectra, correlate, irfft, power, rfft
from shared.audio.pcm import FRAME

#: Partitions of the impulse response, one frame (20 ms) each: the filter covers 400 ms of the path.
PARTITIONS = 20
#: Frames by which the far end can be delayed before it enters the filter: 50 frames are 1 s.
MAX_DELAY = 50
#: Partitions that are constrained in each frame, in rotation: all of them within five frames. All
#: of them in each frame cost more and removed no more echo.
_CONSTRAINED = 4
#: The share of a partition's weights that is still true a frame later. 0.999 follows clocks that
#: drift by 20 ppm, and costs 2 dB where nothing moves. It is applied once per rotation.
_RETENTION = 0.999 ** (PARTITIONS // _CONSTRAINED)
#: The uncertainty of a path that is not known yet: a gain of 3, in power, for the first partition,
#: and less by a factor of exp(-0.1), 0.4 dB, for each partition after it. Together that is 14 dB:
#: no microphone hears its speaker louder. From 1 to 10 the filter learns equally well, because the
#: microphone limits the uncertainty at once, see ``PathBound``.
_INITIAL_UNCERTAINTY, _INITIAL_DECAY = 3.0, 0.1
#: The path is known roughly if at most a tenth of the echo, in power, is uncertain. Until then each
#: frame constrains all partitions.
_ROUGHLY = 0.1
#: The path is known roughly if at most a tenth of the echo, in power, is uncertain. Until then each
#: frame constrains all partitions.
_ROUGHLY = 0.1
#: The least share of that uncertainty that remains while there is no echo: headphones can be
#: unplugged, and the filter then has to learn at once.
_LEAST_UNCERTAINTY = 0.2
#: The share of the near end's power spectrum that is kept from frame to frame.
_SMOOTHING = 0.7
#: ``find_shift`` looks for an echo that has jumped by up to 15 frames, 300 ms; a jump of less than
#: 24 samples, 1 ms, is none.
_FURTHEST_FRAMES = 15
_NEAREST_SAMPLES = 24
#: The bins of a voice, 100 to 4000 Hz, show by how much the path has grown: their phase is
#: unambiguous up to 3 samples. Two paths that correlate by less than 0.8 belong to two rooms.
VOICE_BINS = slice(4, 160)
#: Their frequencies, in radians per sample: a bin is 25 Hz.
VOICE_FREQUENCIES = (np.pi / FRAME * np.arange(VOICE_BINS.start, VOICE_BINS.stop)).astype(
    np.float32
)
_SAME_PATH = 0.8


class KalmanFilter:
    """Learns the echo path and subtracts the echo, ``frame`` samples at a time, full scale 1."""

    def __init__(self, frame: int) -> None:
        self._frame = frame
        bins = frame + 1
        self.delay = 0  # frames by which the far end is delayed
        #: How much of the last residual may be echo that the filter has not learnt: mean power
        #: per sample, at the frequencies of a voice.
        self.uncertain_power = 0.0
        #: The spectrum of the last residual, after a frame of silence.
        self.residual: Spectra = np.zeros(bins, np.complex64)
        self.far = FarSpectra(frame, PARTITIONS + MAX_DELAY)
        #: The path's frequency response, a row per partition.
        self.weights = np.zeros((PARTITIONS, bins), np.complex64)
        #: The variance of the weights' error, the same shape.
        self.uncertainty = np.empty((PARTITIONS, bins), np.float32)
        initial = _INITIAL_UNCERTAINTY * np.exp(-_INITIAL_DECAY * np.arange(PARTITIONS))
        self._initial: Samples = initial.astype(np.float32)[:, None]
        self._near_power = np.full(bins, 1e-6, np.float32)
        self._padded: Samples = np.zeros(2 * frame, np.float32)
        # Scratch arrays: to allocate them in each frame costs as much as the arithmetic in them.
        self._complex = np.empty((PARTITIONS, bins), np.complex64)
        self._real = np.empty((PARTITIONS, bins), np.float32)
        #: The share of a weight's power that is not true any more after a rotation.
        self._changes: Samples = np.full(bins, 1 - _RETENTION**2, np.float32)
        self._rotation = 0  # the first partition that is constrained in the next frame
        self._measured: Spectra | None = None  # the weights when ``growth`` was called last
        self._bound = PathBound(PARTITIONS + MAX_DELAY, _INITIAL_UNCERTAINTY)
        self.reset()

    def reset(self) -> None:
        """Forget the path."""
        self._measured = None
        self._bound.reset()
        self.weights[:] = 0
        self.uncertainty[:] = self._initial
        self._expect_growth(0.0)

    def scale(self, gain: float) -> None:
        """Multiply the path by a gain: the speaker's volume was turned."""
        self._bound.reset()
        self.weights *= np.float32(gain)

    def set_delay(self, frames: int) -> None:
        """Delay the far end by so many frames, and move what was learnt along with it."""
        moved = frames - self.delay
        if not moved:
            return
        self.delay = frames
        weights, uncertainty = self.weights.copy(), self.uncertainty.copy()
        self._measured = None
        self.weights[:] = 0
        gains = self._bound.gains[frames : frames + PARTITIONS, None]
        np.minimum(self._initial, gains, out=self.uncertainty)
        kept = PARTITIONS - abs(moved)
        if kept > 0:
            to, origin = (0, moved) if moved > 0 else (-moved, 0)
            self.weights[to : to + kept] = weights[origin : origin + kept]
            self.uncertainty[to : to + kept] = uncertainty[origin : origin + kept]

    def elsewhere_power(self) -> float:
        """Return how loud an echo in the last frame can be at delays beyond the filter.

        That is the mean power at the delay at which the echo can be loudest.
        """
        echoes = self._bound.echoes()
        echoes[self.delay : self.delay + PARTITIONS] = 0
        return float(echoes.max())

    def find_shift(self, near: Samples) -> tuple[int, float]:
        """Return by how many samples the echo in the last frame is late, and how sure that is.

        Call it after ``process``, with the same frame. The shift is at most 300 ms; a negative one
        means that the echo comes sooner. The second number is the correlation between the frame and
        the predicted echo at that shift: 1 if the frame holds nothing but this echo, 0 if the echo
        is most alike where the filter expects it.
        """
        line = np.concatenate(
            [self._echo_of(at) for at in range(_FURTHEST_FRAMES, -_FURTHEST_FRAMES - 1, -1)]
        )
        products, powers = correlate(line, near)
        correlation = products / np.sqrt(powers * float(np.dot(near, near)) + 1e-12)
        at = int(np.argmax(correlation))
        later = _FURTHEST_FRAMES * self._frame - at
        return later, float(correlation[at]) if abs(later) > _NEAREST_SAMPLES else 0.0

    def shift(self, by: int) -> None:
        """Expect the same echo so many samples later."""
        frame = self._frame
        response = irfft(self.weights, axis=1)[:, :frame].reshape(-1)
        delay = min(MAX_DELAY, max(0, self.delay + by // frame))
        by -= (delay - self.delay) * frame
        moved = np.zeros_like(response)
        kept = max(0, len(response) - abs(by))
        moved[max(0, by) : max(0, by) + kept] = response[max(0, -by) : max(0, -by) + kept]
        self.delay, self._measured = delay, None
        self._bound.reset()
        rfft(moved.reshape(PARTITIONS, frame), 2 * frame, axis=1, out=self.weights)
        # The true shift may differ by a fraction of a sample: add the variance of that phase error.
        phase_error = np.square(np.arange(frame + 1) * np.pi / frame) / 12
        self.uncertainty += phase_error.astype(np.float32) * power(self.weights)

    def growth(self, frames: int) -> float:
        """Return by how many samples the path has grown longer since the last call.

        That was so many frames ago.

        Return 0 where that cannot be said: at the first call, and where the path is not the same
        any more, because the room has changed or the filter has not learnt it yet.
        """
        now = self.weights[:, VOICE_BINS].copy()
        before, self._measured = self._measured, now
        if before is None:
            return 0.0
        turned = np.einsum("pk,pk->k", now, before.conj())
        weight = np.abs(turned)
        both = np.linalg.norm(now) * np.linalg.norm(before)
        if float(weight.sum()) <= _SAME_PATH * float(both):
            return 0.0
        weight *= VOICE_FREQUENCIES
        angle = np.angle(turned)
        grown = -float(np.dot(weight, angle) / np.dot(weight, VOICE_FREQUENCIES))
        self._expect_growth(grown / frames)
        return grown

    def _expect_growth(self, by: float) -> None:
        """Expect the path to grow by so many samples in a frame: high frequencies turn fastest."""
        bins = np.arange(self._frame + 1)
        turns = bins * (np.pi / self._frame * by * PARTITIONS / _CONSTRAINED)
        self._changes[:] = 1 - _RETENTION**2 + np.minimum(1, np.square(turns))

    def process(self, near: Samples, far: Samples) -> Samples:
        """Take a frame of the microphone and of the far end; return the residual.

        The residual is the microphone without the predicted echo. Once the far end has been silent
        for longer than the filter covers, return ``near`` itself and learn nothing: the assistant
        is silent during most of a conversation.
        """
        if not self.far.push(far):
            return near
        frame = self._frame
        if self._bound.add(near, far):
            self._limit(self._bound.gains[self.delay : self.delay + PARTITIONS, None])
        spectra, powers = self.far.rows(self.delay, PARTITIONS)
        np.multiply(spectra, self.weights, out=self._complex)
        echo = irfft(self._complex.sum(axis=0))[frame:]
        echo_power = float(np.dot(echo, echo))
        residual: Samples = near - echo
        self._padded[frame:] = residual
        self.residual = rfft(self._padded)
        self._learn(spectra, powers, self.residual)
        if self.uncertain_power * frame < _ROUGHLY * echo_power:
            self._constrain(slice(self._rotation, self._rotation + _CONSTRAINED))
            self._rotation = (self._rotation + _CONSTRAINED) % PARTITIONS
        else:
            self._constrain(slice(PARTITIONS))
        return residual

    def _echo_of(self, back: int) -> Samples:
        """Return the echo that was predicted so many frames before the last one.

        A negative number means a coming frame: return the part of its echo that is known already.
        """
        ahead = max(0, -self.delay - back)
        age = self.delay + back + ahead
        # The echo of sound that is no longer kept is left out.
        end = ahead + min(PARTITIONS - ahead, PARTITIONS + MAX_DELAY - age)
        spectra, _ = self.far.rows(age, end - ahead)
        return irfft(np.einsum("pk,pk->k", spectra, self.weights[ahead:end]))[self._frame :]

    def _limit(self, gains: Samples) -> None:
        """Take over how loud each partition of the path can be at most.

        A weight that was more uncertain than that was guessed: it shrinks by as much.
        """
        real = self._real
        np.maximum(self.uncertainty, gains, out=real)
        np.divide(gains, real, out=real)
        self.weights *= real
        self.uncertainty *= real

    def _learn(self, spectra: Spectra, powers: Samples, residual: Spectra) -> None:
        real = self._real
        now = power(residual)
        self._near_power *= np.float32(_SMOOTHING)
        self._near_power += np.float32(1 - _SMOOTHING) * now
        # Take a person who begins to speak into account at once, or the filter would follow them.
        near = np.maximum(self._near_power, now)
        # Half: a spectrum is made of two frames, and only one of them is new.
        np.multiply(powers, self.uncertainty, out=real)
        echo = np.float32(0.5) * real.sum(axis=0)
        self.uncertain_power = float(echo[VOICE_BINS].sum()) / self._frame**2
        near += echo
        near += np.float32(1e-8)
        np.divide(self.uncertainty, near, out=real)  # the step size, per partition and bin
        np.conjugate(spectra, out=self._complex)
        self._complex *= residual
        self._complex *= real
        self.weights += self._complex
        real *= powers
        real *= np.float32(-0.5)
        real += np.float32(1)
        self.uncertainty *= real

    def _constrain(self, here: slice) -> None:
        """Bring some partitions back to a frame's length, and let them be less certain again."""
        weights, uncertainty = self.weights[here], self.uncertainty[here]
        # Only the first half of a partition's response belongs to it: the other half is the wrap-
        # around of the circular convolution.
        response = irfft(weights, axis=1)[:, : self._frame]
        rfft(response, 2 * self._frame, axis=1, out=weights)
        weights *= np.float32(_RETENTION)
        uncertainty *= np.float32(_RETENTION**2)
        uncertainty += self._changes * power(weights)
