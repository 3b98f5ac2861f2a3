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
from services.echo.spectra import (
    SILENCE,
    FrameSpectra,
    Samples,
    Spectra,
    bin_powers,
    correlate,
    irfft,
    peak_offset,
    rfft,
)
from shared.audio.pcm import FRAME

#: Partitions of the impulse response, one frame (20 ms) each: the filter covers 400 ms of the path.
PARTITIONS = 20
#: Frames by which the far end can be delayed before it enters the filter: 50 frames are 1 s.
MAX_DELAY = 50
#: Partitions that are constrained in each frame, in rotation: all of them within five frames. To
#: constrain a partition is to clear the second half of its response. That half does not belong to
#: it: it is the wrap-around of the circular convolution. All partitions in each frame cost more and
#: removed no more echo.
_CONSTRAINED = 4
#: The share of a partition's weights that is still true a frame later where no change is seen. With
#: 0.999 the filter followed a person who spoke too: their words had an ESTOI of 0.74 in long
#: reverberation, with 0.9997 and 0.9999 0.80. Applied once per rotation, and only while the far end
#: has sound: in a silence nothing can be learnt again. Forgetting there left 8 dB more echo.
_RETENTION = 0.9997 ** (PARTITIONS // _CONSTRAINED)
#: The uncertainty of a path that is not known yet: a gain of 15 dB, in power, for the first
#: partition, and less by a factor of exp(-0.1), 0.4 dB, for each partition after it. No microphone
#: hears its speaker louder. With 5 dB an echo 15 dB louder than its far end opened the gate. A soft
#: echo is learnt as fast with 15 dB, because ``PathBound`` limits the uncertainty at once.
_INITIAL_UNCERTAINTY, _INITIAL_DECAY = 32.0, 0.1
#: The echo is known if at most a tenth of it, in power, is uncertain. Until then each frame
#: constrains all partitions.
KNOWN = 0.1
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
VOICE_FREQUENCIES = (np.pi / FRAME * np.arange(FRAME + 1)).astype(np.float32)[VOICE_BINS]
_SAME_PATH = 0.8
#: While the path changes, each frequency keeps changing until it is heard again. Its error grows
#: with the square of that time: a second, 50 frames, from one "s" in speech to the next.
_UNHEARD = 50


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
        self.spectra = FrameSpectra(frame, PARTITIONS + MAX_DELAY)
        #: The path's frequency response, a row per partition.
        self.weights = np.zeros((PARTITIONS, bins), np.complex64)
        #: The variance of the weights' error, the same shape.
        self.uncertainty = np.empty((PARTITIONS, bins), np.float32)
        initial = _INITIAL_UNCERTAINTY * np.exp(-_INITIAL_DECAY * np.arange(PARTITIONS))
        self._initial: Samples = initial.astype(np.float32)[:, None]
        self._near_power = np.full(bins, 1e-6, np.float32)
        self._both: Spectra = np.zeros((1 + PARTITIONS, bins), np.complex64)
        self._samples: Samples = np.zeros((1 + PARTITIONS, 2 * frame), np.float32)
        # Scratch arrays: to allocate them in each frame costs as much as the arithmetic in them.
        self._complex = np.empty((PARTITIONS, bins), np.complex64)
        self._real = np.empty((PARTITIONS, bins), np.float32)
        #: The share of a weight's power that is not true any more after a rotation.
        self._changes: Samples = np.full(bins, 1 - _RETENTION**2, np.float32)
        self._known = False  # whether the echo is known
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
        self._expect(0.0, 0.0)

    def scale(self, gain: float) -> None:
        """Multiply the path by a gain: the speaker's volume was turned."""
        self._bound.reset()
        self._measured = None
        self.weights *= np.float32(gain)

    def set_delay(self, frames: int) -> None:
        """Delay the far end by ``frames``, and move the learnt path along with it."""
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

        The result is the mean power at the delay at which the echo can be loudest.
        """
        echoes = self._bound.echoes()
        echoes[self.delay : self.delay + PARTITIONS] = 0
        return float(echoes.max())

    def find_shift(self) -> tuple[int, float]:
        """Return by how many samples the echo in the last frame is late, and how sure that is.

        The shift is at most 300 ms; a negative one means that the echo comes sooner. The second
        number is the correlation between the frame and the predicted echo at that shift, at the
        frequencies of a voice: 1 if the frame holds nothing but this echo, 0 if the best match is
        where the filter expects the echo.
        """
        most, bins = _FURTHEST_FRAMES, VOICE_BINS.stop
        # Spectra of 4 kHz make samples at 8 kHz: a third of the work.
        far = np.zeros((2 * most + PARTITIONS, bins), np.complex64)
        newest = self.delay - most  # the age of the row that makes the latest echo
        first, end = max(0, newest), min(PARTITIONS + MAX_DELAY, newest + len(far))
        # Sound that is not kept any more, and sound of the coming frames, is left out.
        far[first - newest : end - newest] = self.spectra.rows(first, end - first)[0][:, :bins]
        weights = self.weights[:, :bins].copy()
        echoes = np.zeros((2 * most + 1, bins + 1), np.complex64)
        for number, row in enumerate(echoes):
            begin = 2 * most - number
            product = far[begin : begin + PARTITIONS] * weights
            np.add.reduce(product, axis=0, out=row[:bins])
        echoes[:, : VOICE_BINS.start] = 0
        near = np.zeros(bins + 1, np.complex64)
        near[VOICE_BINS] = self.spectra.near[VOICE_BINS]
        line, part = (irfft(s, axis=-1)[..., bins:].reshape(-1) for s in (echoes, near))
        products, powers = correlate(line, part)
        correlation = products / np.sqrt(powers * float(np.dot(part, part)) + 1e-12)
        at = int(np.argmax(correlation))
        shift = round((most * bins - at - peak_offset(correlation[at - 1 : at + 2])) * FRAME / bins)
        return shift, float(correlation[at]) if abs(shift) > _NEAREST_SAMPLES else 0.0

    def shift(self, by: int) -> None:
        """Expect the same echo ``by`` samples later."""
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
        self.uncertainty += phase_error.astype(np.float32) * bin_powers(self.weights)

    def growth(self, frames: int) -> float:
        """Return by how many samples the path has grown longer since the last call.

        ``frames`` is how many frames ago the last call was. Return 0 if the growth is not known: at
        the first call, after the room has changed, and before the filter has learnt the path.
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
        grown = -float(np.dot(weight, np.angle(turned)) / np.dot(weight, VOICE_FREQUENCIES))
        louder = float(turned.real.sum()) / float(np.vdot(before, before).real) - 1
        self._expect(grown / frames, louder / frames)
        return grown

    def _expect(self, grows: float, louder: float) -> None:
        """Expect each frame to make the path longer by some samples, and louder by a share."""
        # High frequencies turn fastest. A microphone may control its own gain.
        turns = np.arange(self._frame + 1) * (np.pi / self._frame * grows)
        changed = (np.square(turns) + louder * louder) * (_UNHEARD * PARTITIONS / _CONSTRAINED)
        self._changes[:] = 1 - _RETENTION**2 + np.minimum(1, changed)

    def process(self, near: Samples, far: Samples) -> Samples:
        """Take a frame of the microphone and of the far end; return the residual.

        The residual is the microphone without the predicted echo. Once the far end has been silent
        for longer than the filter covers, return ``near`` itself and learn nothing: the assistant
        is silent during most of a conversation.
        """
        if not self.spectra.push(near, far):
            self.uncertain_power = 0.0
            return near
        frame = self._frame
        if self._bound.add(near, far):
            self._limit(self._bound.gains[self.delay : self.delay + PARTITIONS, None])
        spectra, powers = self.spectra.rows(self.delay, PARTITIONS)
        here = self._next_constrained()
        # The first row is the echo, and later the residual; the others are the weights that are
        # constrained. Two calls transform all rows to and fro.
        rows = 1 + here.stop - here.start
        both, samples = self._both[:rows], self._samples[:rows]
        np.multiply(spectra, self.weights, out=self._complex)
        np.add.reduce(self._complex, axis=0, out=both[0])
        both[1:] = self.weights[here]
        irfft(both, axis=1, out=samples)
        echo = samples[0, frame:]
        echo_power = float(np.dot(echo, echo))
        residual: Samples = near - echo
        samples[0, :frame] = 0
        samples[0, frame:] = residual
        samples[1:, frame:] = 0  # constrain these weights
        rfft(samples, axis=1, out=both)
        self.residual = both[0]
        self.weights[here] = both[1:]
        if float(np.dot(far, far)) > SILENCE * frame:
            self._age(here)
        self._learn(spectra, powers, self.residual)
        self._known = self.uncertain_power * frame < KNOWN * echo_power
        return residual

    def _limit(self, gains: Samples) -> None:
        """Limit the uncertainty of each partition to ``gains``, its greatest power gain.

        A weight that was more uncertain than that was a guess, so it shrinks by the same factor.
        """
        real = self._real
        np.maximum(self.uncertainty, gains, out=real)
        np.divide(gains, real, out=real)
        self.weights *= real
        self.uncertainty *= real

    def _learn(self, spectra: Spectra, powers: Samples, residual: Spectra) -> None:
        real = self._real
        now = bin_powers(residual)
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

    def _next_constrained(self) -> slice:
        """Return which partitions are constrained in this frame."""
        if not self._known:
            return slice(0, PARTITIONS)
        here = slice(self._rotation, self._rotation + _CONSTRAINED)
        self._rotation = here.stop % PARTITIONS
        return here

    def _age(self, here: slice) -> None:
        """Shrink partitions by the share that is no longer true, and raise their uncertainty."""
        self.weights[here] *= np.float32(_RETENTION)
        self.uncertainty[here] += self._changes * bin_powers(self.weights[here])
