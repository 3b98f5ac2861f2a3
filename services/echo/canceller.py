"""The echo canceller of one microphone: a linear filter and a gate. Pure.

The linear filter removes the echo without touching the person's voice. The gate closes while the
assistant speaks and nobody else does, so that the residual echo is not taken for a person.
Without an echo, with headphones, the microphone passes through unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from services.echo.aligner import Aligned, Aligner
from services.echo.doubletalk import Change, DoubleTalk
from services.echo.drift import STRETCH, Drift
from services.echo.highpass import HighPass
from services.echo.kalman import MAX_DELAY, PARTITIONS, VOICE_BINS, VOICE_FREQUENCIES, KalmanFilter
from services.echo.presence import EchoPresence
from services.echo.spectra import Samples, Spectra
from shared.audio import pcm

#: The closed gate attenuates to a tenth of the noise's power, 10 dB below it.
_BELOW_NOISE = 0.1
#: The gate opens and closes over 60 samples, 2.5 ms: without a click.
_RAMP = 60
_RISE = np.linspace(0, 1, _RAMP, dtype=np.float32)
#: The filter begins this many partitions before the loudest part of the echo, because weaker parts
#: can come earlier, and the echo comes sooner if the distance shrinks.
_SPARE = 2
#: The share of a slow drift, as the filter measures it, that the aligner applies.
_DRIFT_SHARE = 0.3
#: A filter that leaves more than -10 dB of the echo fails, as it does with a fast drift. With less,
#: a single comparison that shows a fast drift is not believed, but two that agree are.
_FAILS_DB = -10.0
#: The echo has jumped if two frames in a row correlate by 0.88 with the predicted echo at another
#: time, and agree on that time to 4 samples. In a person's words, two frames in a row reached at
#: most 0.87 and 0.82.
_JUMPED, _AGREE_SAMPLES = 0.88, 4
#: One frame that correlates by more than this is not let through. A person with a tenth of the
#: echo's power lowers the correlation to 0.95.
_SURELY_ECHO = 0.95


class Canceller:
    """Removes the echo from one microphone, 20 ms at a time."""

    def __init__(self, *, high_pass: bool, noise_suppression: bool) -> None:
        #: By how much the last frame was lowered, dB; 0 while the assistant cannot be heard.
        self.removed_db = 0
        #: How much faster the far end should run from here on, a fraction (1e-6 is 1 ppm).
        self.speed_change = 0.0
        #: How often the echo has moved.
        self.moved = 0
        self.filter = KalmanFilter(pcm.FRAME)
        self.double_talk = DoubleTalk()
        self._high_pass = HighPass() if high_pass else None
        self._suppress = _suppressor() if noise_suppression else None
        self._presence = EchoPresence(MAX_DELAY + 1, VOICE_BINS.stop - VOICE_BINS.start)
        self._drift = Drift(VOICE_FREQUENCIES)
        self._shift: int | None = None  # by how much the echo seems to have jumped, samples
        self._gain = 1.0  # the gate's, amplitude

    @property
    def far_audible(self) -> bool:
        """Whether the assistant can be heard in the room."""
        return self.double_talk.far

    @property
    def passes(self) -> bool:
        """Whether there is no echo, so that the microphone passes through unchanged."""
        return self._presence.absent

    @property
    def noise_dbfs(self) -> int:
        """The level of the room's noise in the voices' band, dBFS."""
        return round(10 * math.log10(self.double_talk.noise))

    def restart(self) -> None:
        """Forget the echo: another device, another room.

        If there was no echo, expect none: headphones that were unplugged are noticed within
        seconds.
        """
        if self.passes:
            return
        self._forget()
        self._presence.forget()

    def cancel(self, aligned: Aligned, aligner: Aligner) -> bytes:
        """Return an aligned frame without the echo, mono s16le at 24 kHz.

        Report to the aligner by how much one device's clock is faster.
        """
        if aligned.realigned:
            self.restart()
        if aligned.far_unknown:
            # Audio that was played before this frame can still be heard.
            self.double_talk.close_for(self.filter.delay + PARTITIONS)
        clean = self.process(aligned.frame.payload, aligned.far)
        if self.speed_change:
            aligner.speed_up(self.speed_change)
        return clean

    def process(self, frame: bytes, far: Samples) -> bytes:
        """Return ``frame`` without the echo of ``far``.

        ``frame`` is 20 ms, mono s16le at 24 kHz. ``far`` is what the speaker played meanwhile, as
        many samples, full scale 1.
        """
        near = pcm.to_array(frame).astype(np.float32)
        near *= 1 / 32768
        self.speed_change = 0.0
        if self.passes:
            return self._passed(frame, near, far)
        talk = self.double_talk
        residual = self.filter.process(near, far)
        near_band = self.filter.spectra.near[VOICE_BINS]
        # The filter returns the microphone itself once the far end is over.
        far_is_over = residual is near
        residual_band = near_band if far_is_over else self.filter.residual[VOICE_BINS]
        uncertain_power = self.filter.uncertain_power
        if not far_is_over and not self._presence.present:
            uncertain_power = max(uncertain_power, self.filter.elsewhere_power())
        is_open = talk.judge(near_band, residual_band, sample_power(far), uncertain_power)
        if talk.new_sound:
            if self._has_jumped():
                talk.close()
                is_open = False
        else:
            self._shift = None
        if talk.removes:
            self._presence.confirm()
        if talk.far:
            self._compare(near_band)
            self._adapt()
        if sample_power(residual) > sample_power(near):
            # The echo that was predicted did not come: the speaker was silenced.
            residual = near.copy()
        if self._high_pass is not None:
            residual = self._high_pass.process(residual)
        if self._suppress is not None:
            residual = pcm.to_array(self._suppress(to_pcm(residual))) * np.float32(1 / 32768)
        return self._gated(near, residual, is_open)

    def _passed(self, frame: bytes, near: Samples, far: Samples) -> bytes:
        """Return a frame as it is: there is no echo. Notice when headphones are unplugged."""
        self.removed_db = 0
        compared = self.filter.spectra.push(near, far)
        near_band = self.filter.spectra.near[VOICE_BINS]
        self.double_talk.listen(near_band, sample_power(far))
        if compared:
            self._compare(near_band)
        if not self.passes:
            self._forget()
        return frame

    def _compare(self, near_band: Spectra) -> None:
        """Compare a frame with what the speaker played before it: is there an echo?"""
        if not near_band.any():
            self._presence.add_silence()
            return
        far, powers = self.filter.spectra.rows(0, MAX_DELAY + 1)
        self._presence.add(near_band, far[:, VOICE_BINS], powers[:, VOICE_BINS])

    def _forget(self) -> None:
        self.filter.set_delay(0)
        self.filter.reset()
        self.double_talk.forget()

    def _gated(self, near: Samples, clean: Samples, is_open: bool) -> bytes:
        clean_power = sample_power(clean)
        gain = 1.0
        if not is_open:
            noise = self.double_talk.noise
            gain = min(1.0, math.sqrt(_BELOW_NOISE * noise / (clean_power + 1e-12)))
        self.removed_db = 0
        if self.far_audible:
            lowered = (sample_power(near) + 1e-10) / (clean_power * gain * gain + 1e-10)
            self.removed_db = max(0, round(10 * math.log10(lowered)))
        if gain != 1.0 or self._gain != 1.0:
            clean[:_RAMP] *= self._gain + (gain - self._gain) * _RISE
            clean[_RAMP:] *= np.float32(gain)
        self._gain = gain
        return to_pcm(clean)

    def _adapt(self) -> None:
        """Adapt the filter to the changes of the room."""
        talk, presence = self.double_talk, self._presence
        if talk.change is Change.LOUDER:
            self.filter.scale(talk.gain)
        elif talk.change is Change.MOVED:
            self.moved += 1
            self.filter.reset()
            presence.expect_later(0)
            talk.forget()
        if presence.present:
            self._measure_drift()
        ahead = presence.delay - self.filter.delay
        if presence.present and not _SPARE // 2 <= ahead <= 2 * _SPARE:
            self.filter.set_delay(min(MAX_DELAY, max(0, presence.delay - _SPARE)))

    def _measure_drift(self) -> None:
        """Find out how much faster one of the two clocks is."""
        delay_change = self._drift.add(self._presence.products(), self._presence.delay)
        if delay_change is None:
            return
        growth = self.filter.growth(STRETCH)
        fails = self.double_talk.residual_echo.mean_db > _FAILS_DB
        if delay_change and (self._drift.agrees or fails):
            # With a fast drift the filter lags behind, so its own measure is wrong.
            self.speed_change = -delay_change / (STRETCH * pcm.FRAME)
            self._drift.forget()
        else:
            self.speed_change = -_DRIFT_SHARE * growth / (STRETCH * pcm.FRAME)

    def _has_jumped(self) -> bool:
        """Return whether a seeming person is the echo at another time. If so, follow the shift."""
        before, (delay_change, correlation) = self._shift, self.filter.find_shift()
        self._shift = delay_change if correlation > _JUMPED else None
        if self._shift is None:
            return False
        if before is not None and abs(delay_change - before) <= _AGREE_SAMPLES:
            self.filter.shift(delay_change)
            self._presence.expect_later(round(delay_change / pcm.FRAME))
            self._drift.forget()
            self.double_talk.reset_gain()
            self._shift = None
            self.moved += 1
            return True
        return correlation > _SURELY_ECHO


def sample_power(samples: Samples) -> float:
    """Return the mean power of samples, full scale 1."""
    return float(np.dot(samples, samples)) / len(samples)


def to_pcm(samples: Samples) -> bytes:
    """Return samples of full scale 1 as s16le."""
    scaled = samples * np.float32(32767)
    np.rint(scaled, out=scaled)
    np.maximum(scaled, np.float32(-32768), out=scaled)
    np.minimum(scaled, np.float32(32767), out=scaled)
    return pcm.from_array(scaled.astype(np.int16))


def _suppressor() -> Callable[[bytes], bytes]:
    """Return a function that removes steady noise from a frame."""
    # WebRTC's library costs a process 22 MB, and few need it.
    from services.echo.webrtc import Processing  # noqa: PLC0415

    return Processing(noise_suppression=True).process
