"""The assistant's own voice, taken out of the microphone: filter, WebRTC, and a gate. Pure.

The linear filter takes the echo out without touching the person; WebRTC's canceller takes what it
leaves; the gate closes on what is left of both while the assistant speaks and nobody else does, so
that no rest of it is taken for a person. Where there is no echo, with headphones, the microphone
passes through untouched.
"""

from __future__ import annotations

import math

import numpy as np

from services.echo.doubletalk import DoubleTalk, Rest, power
from services.echo.farend import Aligned, Aligner
from services.echo.kalman import MAX_SKIP, PARTS, KalmanFilter, Samples, Spectra
from services.echo.webrtc import Processing
from shared.audio import pcm

#: While the gate is closed what is left is held this far below the noise, in power.
_BELOW_NOISE = 0.1
_CLOSED = 0.01  # and is never made softer than this
_RAMP = 60  # samples over which the gate opens and closes: 2.5 ms
_RISE = np.linspace(0, 1, _RAMP, dtype=np.float32)
#: Empty partitions in front of the echo that are kept: where the distance shrinks it comes sooner.
_SPARE = 2
#: How often the echo's place is looked for, frames, and how much sound is looked at for it.
_LOOK = 100
_LOOKED_AT = 150
#: How often it is seen whether the echo drifts, frames, and how much of that is believed at once.
_DRIFTS = 25
_BELIEVED = 0.3
#: Who knows the room from before waits so many frames for the speaker, and lets nothing through.
_MEETS = 50
#: Two frames this like the echo at another time, which agree on the time, in samples, show that it
#: has jumped: of two from a person's words one was seen at 0.87, the other at 0.82. One frame that
#: is more like it than this is not let through: a person of a tenth of its power makes it 0.95.
_ALIKE, _AGREE = 0.88, 4
_THE_SAME = 0.95
#: A peak this many times the others' scatter is the echo's place: an echo's is at 80 and more, a
#: person's chance likeness to the assistant was seen at 10.
_SURE = 25.0


class Recent:
    """The last ``kept`` samples of a stream, silence before it; adding moves few of them."""

    def __init__(self, kept: int) -> None:
        self._kept = self._end = kept
        self._line: Samples = np.zeros(2 * kept, np.float32)

    @property
    def samples(self) -> Samples:
        """The samples, oldest first: a view, true until more are added."""
        return self._line[self._end - self._kept : self._end]

    def add(self, samples: Samples) -> None:
        """Take the newest samples, at most ``kept``."""
        if self._end + len(samples) > len(self._line):
            stay = self._kept - len(samples)
            self._line[:stay] = self._line[self._end - stay : self._end]
            self._end = stay
        self._line[self._end : self._end + len(samples)] = samples
        self._end += len(samples)


class Canceller:
    """Takes a frame of the microphone and what the speaker played meanwhile, 20 ms of each."""

    def __init__(self, *, high_pass: bool, noise_suppression: bool) -> None:
        self.removed_db = 0  # from the last frame
        self.drift = 0.0  # how much faster the far end should run from here on
        self.moved = 0  # times the echo was found to have changed its way
        self._webrtc = Processing(high_pass=high_pass, noise_suppression=noise_suppression)
        self.filter = KalmanFilter(pcm.FRAME)
        self.talk = DoubleTalk()
        self._later: int | None = None  # by how much the echo seems to be, samples
        self._gain = 1.0
        self._frames = 0
        self._loud = 0  # the last of them in which there was more than noise
        self._nears = Recent(_LOOKED_AT * pcm.FRAME)
        self._fars = Recent((_LOOKED_AT + MAX_SKIP) * pcm.FRAME)

    @property
    def far(self) -> bool:
        """Whether the assistant can be heard in the room."""
        return self.talk.far

    @property
    def passes(self) -> bool:
        """Whether there is no echo, and the microphone passes through untouched."""
        return self.talk.no_echo

    def recall(self, skip: int, weights: Spectra, doubts: Samples, rest: Rest) -> None:
        """Know the room that another canceller knew."""
        self.filter.skip = skip
        self.filter.weights[:], self.filter.doubts[:] = weights, doubts
        self.talk.recall(rest)
        self.talk.blind = _MEETS

    def restart(self) -> None:
        """Begin anew: another device, another room.

        Where there was no echo there is none for now: headphones that went are soon found out.
        """
        if self.passes:
            return
        self.filter.hold_back(0)
        self.filter.forget()
        self.talk.forget()

    def cancel(self, aligned: Aligned, aligner: Aligner) -> bytes:
        """Give an aligned frame without the echo, and let the aligner know how the echo drifts."""
        if aligned.anew:
            self.restart()
        if aligned.unknown and self.talk.learnt:
            # what was played before this began can still be heard
            self.talk.blind = max(self.talk.blind, self.filter.skip + PARTS)
        clean = self.process(aligned.frame.payload, aligned.far)
        if self.drift:
            aligner.turn(self.drift)
        return clean

    def process(self, frame: bytes, far: Samples) -> bytes:
        """Give the frame, mono s16le, without the echo of ``far``, full scale 1."""
        near = pcm.to_array(frame).astype(np.float32)
        near *= 1 / 32768
        self.drift = 0.0
        loud = self.talk.loud(near)
        learns = loud or not self.passes
        if learns:
            left = self.filter.process(near, far)
        else:
            # headphones: in silence there is nothing to learn, nor to take out
            self.filter.hear(far)
            left = near
        open_ = self.talk.judge(near, left, far, self.filter.unsure)
        if self.talk.strange and not self.passes:
            if self._has_moved(near):
                self.talk.close()
                open_ = False
        else:
            self._later = None
        self._attend(near, far, loud=loud)
        if self.passes:
            if learns:
                self.filter.doubt()
            self.removed_db = 0
            return frame
        clean = self._webrtc.process(_to_pcm(left), _to_pcm(far))
        return self._gated(near, clean, open_)

    def _gated(self, near: Samples, clean: bytes, open_: bool) -> bytes:
        samples = pcm.to_array(clean).astype(np.float32)
        left_power = power(samples) / 32768**2
        gain = 1.0
        if not open_:
            gain = min(1.0, math.sqrt(_BELOW_NOISE * self.talk.noise / (left_power + 1e-12)))
            gain = max(_CLOSED, gain)
        if gain != 1.0 or self._gain != 1.0:
            samples[:_RAMP] *= self._gain + (gain - self._gain) * _RISE
            samples[_RAMP:] *= gain
            clean = pcm.from_array(samples.astype(np.int16))
        self._gain = gain
        before = power(near) + 1e-10
        after = left_power * gain * gain + 1e-10
        self.removed_db = max(0, round(10 * math.log10(before / after))) if self.far else 0
        return clean

    def _attend(self, near: Samples, far: Samples, *, loud: bool) -> None:
        """Let the filter follow the room, and find the echo where it is."""
        talk = self.talk
        if talk.change == "louder":
            self.filter.scale(talk.gain)
        elif talk.change == "moved":
            self.moved += 1
            self.filter.forget()
            talk.forget()
        if not talk.far:
            return
        self._nears.add(near)
        self._fars.add(far)
        self._frames += 1
        self._loud = self._frames if loud else self._loud
        if not self._frames % _DRIFTS:
            grown = self.filter.lengthened() / (_DRIFTS * pcm.FRAME)
            self.drift = -_BELIEVED * grown
        if self._frames % _LOOK:
            return
        if talk.learnt and not talk.no_echo:
            spare = self.filter.empty_parts() - _SPARE
            if spare >= _SPARE or (spare < 0 and self.filter.skip):
                self.filter.hold_back(min(MAX_SKIP, max(0, self.filter.skip + spare)))
        elif self._frames >= _LOOKED_AT and self._loud > self._frames - _LOOK:
            self._search()

    def _has_moved(self, near: Samples) -> bool:
        """Say whether what seems a person is the echo, at another time; be sure, and go there."""
        before, (later, alike) = self._later, self.filter.elsewhere(near)
        self._later = later if alike > _ALIKE else None
        if self._later is None:
            return False
        if before is not None and abs(later - before) <= _AGREE:
            self.filter.move(later)
            self.talk.moved()
            self._later = None
            self.moved += 1
            return True
        return alike > _THE_SAME

    def _search(self) -> None:
        """Look for the echo up to a second after the far end; where it is found, go there."""
        near, far = self._nears.samples, self._fars.samples
        size = 1 << (len(far) + len(near) - 1).bit_length()
        cross = np.fft.rfft(near, size) * np.conj(np.fft.rfft(far, size))
        # whitened: speech is alike to itself over many ms, and its peak would be broad
        cross /= np.abs(cross) + 1e-9
        delays = np.fft.irfft(cross)
        # the newest samples of both are of the same time
        first = len(far) - len(near)
        delays = np.roll(delays, first)[: first + 1]
        at = int(np.argmax(np.abs(delays)))
        if abs(delays[at]) > _SURE * float(np.std(delays)):
            skip = max(0, at // pcm.FRAME - _SPARE)
            if not self.filter.skip <= skip + _SPARE < self.filter.skip + PARTS // 2:
                self.filter.hold_back(0)
                self.filter.forget()
                self.filter.hold_back(skip)
                self.talk.forget()


def _to_pcm(samples: Samples) -> bytes:
    scaled = np.rint(samples * 32767)
    return pcm.from_array(np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16))
