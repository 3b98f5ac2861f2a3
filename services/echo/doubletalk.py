"""Whether a person speaks while the assistant does, or only the assistant's echo is heard. Pure.

The filter's residual consists of the person, the room's noise and the residual echo. The filter
itself states how loud the echo can be that it has not learnt yet. A linear filter cannot learn all
of an echo, so ``DoubleTalk`` learns how loud the residual echo usually is, relative to the echo
that was removed. A residual that is clearly louder than both is a person. A residual that still
resembles the echo is no person: the echo has moved.

All powers are those at the frequencies of a voice, 100 to 4000 Hz. Above them the echo of a hiss
can be wrong by much: a third of a sample between the clocks turns 8 kHz by 40 degrees.
"""

from __future__ import annotations

import enum
import math

import numpy as np

from services.echo.gain import TOLERANCE, EchoGain
from services.echo.kalman import KNOWN
from services.echo.spectra import SILENCE, Spectra
from shared.audio.pcm import FRAME

#: A person who is more than 9 dB weaker than the echo in the microphone is not recognised.
WEAKEST_DB = -9.0
#: A person is this many mean deviations louder than the mean residual echo.
_DEVIATIONS = 2.5
#: A residual with twice the power that the uncertain echo can have is not echo: this sum over 480
#: frequencies scatters by less than 1 dB.
_SURELY = 2.0
#: A sound is loud above 6 times the noise's power, 8 dB. An echo is audible above twice that power.
_LOUD = 6.0
_AUDIBLE = 2.0
#: The residual echo is measured where the echo is 13 dB louder than the noise: with less, the noise
#: itself would be taken for residual echo.
_MEASURABLE = 20.0
#: The residual echo is measured over 40 frames, 0.8 s. A frame that may be a person counts a
#: fortieth.
_MOST = 40
_SLOWLY = 1 / 40
#: The far end can be heard for 30 frames, 0.6 s, after it fell silent.
_TAIL = 30
#: Most of the residual echo is reverberation, so its level follows the mean echo of the last 20
#: frames, 0.4 s. A mean over 10 frames found 3 people fewer of 48, with an RT60 of 1.2 and 2 s.
_RECENT = 1 / 20
#: The noise estimate rises by 6 dB a second, so that a word is not taken for noise.
_NOISE_RISES = 10**0.0125
#: The gate stays open for 10 frames, 200 ms, after a person's last loud frame: a soft ending.
#: A frame with only noise and the usual residual echo counts three times, so 60 ms are enough.
_HOLD = 10
_QUIET_COUNTS = 3
#: A sound that is not the known echo is new for its first 8 frames, 160 ms.
_NEW = 8
#: The share of the echo's gain that is kept from frame to frame: over 2.5 and over 10 frames.
_SHORT, _LONG = 0.6, 0.9
#: The echo has changed if its gain is off in three frames; each frame with the right gain takes a
#: quarter of a frame back.
_SUSPICIOUS, _FORGIVEN = 3.0, 0.25
#: A volume is turned up by at most this much (amplitude) at a time: 20 dB.
_MOST_GAIN = 10.0


class Change(enum.Enum):
    """The change that the echo has undergone. The filter has to follow it."""

    NONE = enum.auto()
    MOVED = enum.auto()  # the echo path is another one: forget it
    LOUDER = enum.auto()  # the volume was turned up: scale the path by ``DoubleTalk.gain``


class ResidualEchoLevel:
    """The level of the residual echo, relative to the echo that was removed.

    At first it is expected to be as loud as the echo, give or take 6 dB. This first guess counts as
    much as five frames.
    """

    def __init__(self) -> None:
        self.mean_db, self.deviation_db, self._count = 0.0, 6.0, 6

    def add(self, level_db: float, *, maybe_person: bool) -> None:
        """Add a frame. A frame that may be a person counts as no louder than the residual echo."""
        share = 1 / self._count
        self._count = min(self._count + 1, _MOST)
        if maybe_person and level_db > self.most_db:
            level_db, share = self.most_db, share * _SLOWLY
        away_db = level_db - self.mean_db
        self.mean_db += share * away_db
        self.deviation_db += share * (1.25 * abs(away_db) - self.deviation_db)

    @property
    def most_db(self) -> float:
        """The level that the residual echo does not exceed."""
        return self.mean_db + _DEVIATIONS * self.deviation_db


class DoubleTalk:
    """Judges each residual of the filter: a person, or only residual echo."""

    def __init__(self) -> None:
        self.noise = 1e-6  # the room's, mean power, full scale 1
        self.far = False  # the far end can be heard in the room
        self.removes = False  # the filter removes most of a loud frame: there is an echo
        self.change = Change.NONE  # what the last frame has shown
        self.gain = 1.0  # after LOUDER: by how much, amplitude
        self.new_sound = False  # a person, or the echo at another time, may just have begun
        self._tail = 0  # frames for which the far end can still be heard
        self._closed = 0  # frames for which the gate stays closed, see ``close_for``
        self.forget()

    def forget(self) -> None:
        """Start again: the room or a device has changed.

        Keep the room's noise, and whether the far end can be heard.
        """
        self._mean_echo = 1e-12  # power of the echo that was removed, over the last frames
        self._echo = 1e-12  # the same, or that of the last frame if that is louder
        self.residual_echo = ResidualEchoLevel()
        self._new_frames = 0
        self._hold = 0
        self.reset_gain()

    def close(self) -> None:
        """Close the gate: the sound that seemed a person was the echo."""
        self._hold = 0

    def close_for(self, frames: int) -> None:
        """Keep the gate closed for ``frames``: the echo may be that of sound that never arrived."""
        self._closed = max(self._closed, frames)

    def reset_gain(self) -> None:
        """Forget the estimates of the echo's gain: the filter was adapted to the same room."""
        self._suspicion = 0.0
        self._short_gain, self._long_gain = EchoGain(_SHORT), EchoGain(_LONG)

    def listen(self, near: Spectra, far_power: float) -> None:
        """Take a frame without an echo: the room's noise, and the far end's power."""
        self._hear(far_power)
        self.noise = min(spectrum_power(near), self.noise * _NOISE_RISES) + 1e-12

    def judge(
        self, near: Spectra, residual: Spectra, far_power: float, uncertain_power: float
    ) -> bool:
        """Return whether the gate is open: a person speaks, or no echo can be heard.

        ``near`` is the spectrum of a frame of the microphone, ``residual`` what the filter leaves
        of it, ``far_power`` the power of the speaker's frame. ``uncertain_power`` is how much of
        the residual may be echo that the filter has not learnt.
        """
        self.change, self.new_sound, self.removes = Change.NONE, False, False
        echo = near - residual
        echo_power, near_power = spectrum_power(echo), spectrum_power(near)
        # A prediction that makes the microphone louder is no use yet.
        residual_power = min(spectrum_power(residual), near_power)
        self._hear(far_power)
        self._mean_echo += _RECENT * (echo_power - self._mean_echo)
        self._echo = max(echo_power, self._mean_echo)
        # Residual echo must not pass for noise: the gate attenuates to the noise.
        hidden = uncertain_power + self._echo * 10 ** (self.residual_echo.mean_db / 10)
        rises = 1.0 if self.far and hidden > self.noise else _NOISE_RISES
        self.noise = min(residual_power, self.noise * rises) + 1e-12
        if self._closed:
            return False
        if not self.far:
            self._hold = 0
            return True
        near_echo = float(np.vdot(near, echo).real) / FRAME**2
        # An echo of another loudness than predicted is no person: a speaker that is driven hard
        # compresses, and a volume can be turned.
        gain = min(1 + TOLERANCE, max(1 - TOLERANCE, near_echo / (echo_power + 1e-12)))
        left_power = near_power - gain * (2 * near_echo - gain * echo_power)
        left_db = 10 * math.log10((max(0.0, left_power) + 1e-12) / (self._echo + 1e-12))
        for found in (self._short_gain, self._long_gain):
            found.add(near_echo, echo_power, spectrum_power(residual))
        known = uncertain_power < KNOWN * self._echo
        gain_off = known and self._echo > _AUDIBLE * self.noise and self._short_gain.is_off(3)
        loud = residual_power > _LOUD * self.noise
        self.removes = near_power > _LOUD * self.noise and residual_power < near_power / 2
        unexplained = residual_power > _SURELY * uncertain_power + _LOUD * self.noise
        person = (
            unexplained and not gain_off and left_db > max(WEAKEST_DB, self.residual_echo.most_db)
        )
        if known and echo_power > _LOUD * self.noise:
            self._suspect()
        if not person and not self._hold and echo_power > _MEASURABLE * self.noise:
            self.residual_echo.add(left_db, maybe_person=unexplained)
        self._keep_open(person, gain_off, known=known, quiet=not loud, left_db=left_db)
        return self._hold > 0

    def _hear(self, far_power: float) -> None:
        self._tail = _TAIL if far_power > SILENCE else max(0, self._tail - 1)
        self._closed = max(0, self._closed - 1)
        self.far = self._tail > 0

    def _keep_open(
        self, person: bool, gain_off: bool, *, known: bool, quiet: bool, left_db: float
    ) -> None:
        """Hold the gate open after a person's last loud frame."""
        if known and (person or gain_off):
            self._new_frames += 1
        elif not self._hold:
            self._new_frames = 0
        self.new_sound = 0 < self._new_frames <= _NEW
        if person:
            self._hold = _HOLD
        elif gain_off:
            self._hold = 0
        elif self._hold:
            usual = self.residual_echo
            quiet = quiet or left_db < usual.mean_db + usual.deviation_db
            self._hold = max(0, self._hold - (_QUIET_COUNTS if quiet else 1))

    def _suspect(self) -> None:
        """Find out whether the echo has moved, or become louder or softer."""
        off = self._short_gain.is_off(6) or self._long_gain.is_off(5)
        self._suspicion = self._suspicion + 1 if off else max(0.0, self._suspicion - _FORGIVEN)
        if self._suspicion < _SUSPICIOUS:
            return
        gain = self._long_gain.value
        if gain > 1 + TOLERANCE:
            self.change, self.gain = Change.LOUDER, min(gain, _MOST_GAIN)
            self.reset_gain()
        elif gain < 1 - TOLERANCE:
            self.change = Change.MOVED


def spectrum_power(spectrum: Spectra) -> float:
    """Return the mean power of a frame, from the spectrum of a frame of silence followed by it."""
    return float(np.vdot(spectrum, spectrum).real) / FRAME**2
