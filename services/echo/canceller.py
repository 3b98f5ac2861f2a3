"""The echo canceller of one microphone: linear filter, WebRTC's canceller and a gate. Pure.

The linear filter removes the echo without touching the person's voice. WebRTC's canceller removes
what the filter leaves. The gate closes while the assistant speaks and nobody else does, so that the
rest of the echo is not taken for a person. Without an echo, with headphones, the microphone passes
through unchanged.
"""

from __future__ import annotations

import math

import numpy as np

from services.echo.aligner import Aligned, Aligner
from services.echo.delay import SEARCHED, DelaySearch
from services.echo.doubletalk import Change, DoubleTalk, power
from services.echo.kalman import MAX_DELAY, PARTITIONS, KalmanFilter, Samples
from services.echo.webrtc import Processing
from shared.audio import pcm

#: The closed gate attenuates to a tenth of the noise's power, 10 dB below it …
_BELOW_NOISE = 0.1
#: … but by no more than 40 dB (amplitude).
_LEAST_GAIN = 0.01
#: The gate opens and closes over 60 samples, 2.5 ms: without a click.
_RAMP = 60
_RISE = np.linspace(0, 1, _RAMP, dtype=np.float32)
#: Empty partitions that stay before the echo: if the distance shrinks, the echo comes sooner.
_SPARE = 2
#: Frames between two looks at how late the echo comes: 2 s.
_DELAY_FRAMES = 100
#: Frames between two looks at how fast the echo path grows, 0.5 s, and the share of a measurement
#: that the aligner applies.
_DRIFT_FRAMES = 25
_DRIFT_SHARE = 0.3
#: The echo has jumped if two frames in a row correlate by 0.88 with the predicted echo at another
#: time, and agree on that time to 4 samples. Of two frames of a person's words, one was seen at
#: 0.87 and the other at 0.82.
_JUMPED, _AGREE_SAMPLES = 0.88, 4
#: One frame that correlates by more than this is not let through. A person with a tenth of the
#: echo's power makes it 0.95.
_SURELY_ECHO = 0.95


class Canceller:
    """Removes the echo from one microphone, 20 ms at a time."""

    def __init__(self, *, high_pass: bool, noise_suppression: bool) -> None:
        #: By how much the last frame was lowered, dB; 0 while the assistant cannot be heard.
        self.removed_db = 0
        #: How much faster the far end should run from here on, a fraction (1e-6 is 1 ppm).
        self.drift = 0.0
        #: How often the echo has moved.
        self.moved = 0
        self.filter = KalmanFilter(pcm.FRAME)
        self.double_talk = DoubleTalk()
        self._webrtc = Processing(high_pass=high_pass, noise_suppression=noise_suppression)
        self._delays = DelaySearch()
        self._shift: int | None = None  # by how much the echo seems to have jumped, samples
        self._gain = 1.0  # the gate's, amplitude
        self._frames = 0  # in which the assistant could be heard
        self._loud_frame = 0  # the last of them in which there was more than noise

    @property
    def far(self) -> bool:
        """Whether the assistant can be heard in the room."""
        return self.double_talk.far

    @property
    def passes(self) -> bool:
        """Whether there is no echo, so that the microphone passes through unchanged."""
        return self.double_talk.no_echo

    def restart(self) -> None:
        """Forget the echo: another device, another room.

        Where there was no echo, expect none: headphones that are gone are noticed within seconds.
        """
        if self.passes:
            return
        self.filter.set_delay(0)
        self.filter.reset()
        self.double_talk.forget()

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
        if self.drift:
            aligner.speed_up(self.drift)
        return clean

    def process(self, frame: bytes, far: Samples) -> bytes:
        """Return ``frame`` without the echo of ``far``.

        ``frame`` is 20 ms, mono s16le at 24 kHz. ``far`` is what the speaker played meanwhile, as
        many samples, full scale 1.
        """
        near = pcm.to_array(frame).astype(np.float32)
        near *= 1 / 32768
        self.drift = 0.0
        loud = self.double_talk.is_loud(near)
        learns = loud or not self.passes
        if learns:
            residual = self.filter.process(near, far)
        else:
            # Headphones, and silence: there is nothing to learn or to remove.
            self.filter.push_far(far)
            residual = near
        is_open = self.double_talk.judge(near, residual, far, self.filter.uncertain_power)
        if self.double_talk.new_sound and not self.passes:
            if self._has_jumped(near):
                self.double_talk.close()
                is_open = False
        else:
            self._shift = None
        self._follow(near, far, loud=loud)
        if self.passes:
            if learns:
                self.filter.stay_uncertain()
            self.removed_db = 0
            return frame
        clean = self._webrtc.process(_to_pcm(residual), _to_pcm(far))
        return self._gated(near, clean, is_open)

    def _gated(self, near: Samples, clean: bytes, is_open: bool) -> bytes:
        samples = pcm.to_array(clean).astype(np.float32)
        clean_power = power(samples) / 32768**2
        gain = 1.0
        if not is_open:
            noise = self.double_talk.noise
            gain = min(1.0, math.sqrt(_BELOW_NOISE * noise / (clean_power + 1e-12)))
            gain = max(_LEAST_GAIN, gain)
        if gain != 1.0 or self._gain != 1.0:
            samples[:_RAMP] *= self._gain + (gain - self._gain) * _RISE
            samples[_RAMP:] *= gain
            clean = pcm.from_array(samples.astype(np.int16))
        self._gain = gain
        before = power(near) + 1e-10
        after = clean_power * gain * gain + 1e-10
        self.removed_db = max(0, round(10 * math.log10(before / after))) if self.far else 0
        return clean

    def _follow(self, near: Samples, far: Samples, *, loud: bool) -> None:
        """Let the filter follow the changes of the room."""
        talk = self.double_talk
        if talk.change is Change.LOUDER:
            self.filter.scale(talk.gain)
        elif talk.change is Change.MOVED:
            self.moved += 1
            self.filter.reset()
            talk.forget()
        if not talk.far:
            return
        self._delays.add(near, far)
        self._frames += 1
        self._loud_frame = self._frames if loud else self._loud_frame
        if not self._frames % _DRIFT_FRAMES:
            growth = self.filter.growth() / (_DRIFT_FRAMES * pcm.FRAME)
            self.drift = -_DRIFT_SHARE * growth
        if self._frames % _DELAY_FRAMES:
            return
        if talk.learnt and not talk.no_echo:
            spare = self.filter.empty_partitions() - _SPARE
            if spare >= _SPARE or (spare < 0 and self.filter.delay):
                self.filter.set_delay(min(MAX_DELAY, max(0, self.filter.delay + spare)))
        elif self._frames >= SEARCHED and self._loud_frame > self._frames - _DELAY_FRAMES:
            self._search()

    def _has_jumped(self, near: Samples) -> bool:
        """Return whether what seems a person is the echo at another time. If sure, follow it."""
        before, (later, correlation) = self._shift, self.filter.find_shift(near)
        self._shift = later if correlation > _JUMPED else None
        if self._shift is None:
            return False
        if before is not None and abs(later - before) <= _AGREE_SAMPLES:
            self.filter.shift(later)
            self.double_talk.follow()
            self._shift = None
            self.moved += 1
            return True
        return correlation > _SURELY_ECHO

    def _search(self) -> None:
        """Look for an echo that comes later than the filter covers. If there is one, go there."""
        at = self._delays.find()
        if at is None:
            return
        delay = max(0, at // pcm.FRAME - _SPARE)
        if not self.filter.delay <= delay + _SPARE < self.filter.delay + PARTITIONS // 2:
            self.filter.set_delay(0)
            self.filter.reset()
            self.filter.set_delay(delay)
            self.double_talk.forget()


def _to_pcm(samples: Samples) -> bytes:
    scaled = np.rint(samples * 32767)
    return pcm.from_array(np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16))
