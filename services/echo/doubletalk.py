"""Whether a person speaks while the assistant does, or only the assistant's echo is heard. Pure.

The filter's residual consists of the person, the room's noise and the rest of the echo. While
nobody speaks, ``DoubleTalk`` learns how loud that rest is, relative to the echo that was removed: a
residual that is clearly louder is a person. A residual that still resembles the echo is no person:
the echo has moved.
"""

from __future__ import annotations

import enum
import math

import numpy as np

from services.echo.gain import EchoGain
from services.echo.kalman import Samples
from services.echo.presence import EchoPresence

#: A person has to be at most this much weaker than the echo in the microphone: -9 dB.
WEAKEST_DB = -9.0
#: A person is this many mean deviations louder than the mean rest of the echo.
_DEVIATIONS = 2.5
#: From frame to frame the true echo may be this much softer or louder than predicted (amplitude)
#: without being a person: a speaker that is driven hard compresses.
_SOFTEST, _LOUDEST = 0.5, 1.5
#: A sound is loud above 6 times the noise's power, 8 dB. An echo is audible above twice that power.
_LOUD = 6.0
_AUDIBLE = 2.0
#: The far end can be heard for 30 frames, 0.6 s, after it fell silent.
_TAIL = 30
#: A far end below this mean power, full scale 1, is silent: -70 dBFS.
_SILENCE = 1e-7
#: The echo decays by at least 1.5 dB from frame to frame, in power: 75 dB a second.
_DECAY = 10**-0.15
#: The noise estimate rises by 6 dB a second, so that a word is not taken for noise.
_NOISE_RISES = 10**0.0125
#: The gate stays open for 10 frames, 200 ms, after a person's last loud frame: a soft ending.
#: Frames in which nothing but noise and the usual rest is left count three times: 60 ms.
_HOLD = 10
_QUIET_COUNTS = 3
#: A sound that is not the known echo is new for its first 8 frames, 160 ms.
_NEW = 8
#: The share of the echo's gain that is kept from frame to frame: over 2.5 and over 10 frames.
_SHORT, _LONG = 0.6, 0.9
#: What was learnt is used after 25 frames, 0.5 s, with a far end.
_LEARNING = 25
#: Before that, in the first room, a residual is a person if it is 10 times (10 dB) louder than all
#: the echo that the filter may have missed. The filter has to have found the echo: 5 loud frames
#: with less than a quarter of their power left. The stage does not use this rule, see ``forget``.
_SURELY = 10.0
_FOUND_FRAMES, _FOUND_REST = 5, 0.25
#: The rest of the echo has to be at least 6 dB below the echo to be usable.
_USABLE_DB = -6.0
#: After 500 frames, 10 s, of an echo that cannot be learnt, a person is let through all the same.
_HOPELESS = 500
#: The echo has changed if its gain is off in three frames; each frame with the right gain takes a
#: quarter of a frame back.
_SUSPICIOUS, _FORGIVEN = 3.0, 0.25
#: A gain beyond these limits is a volume that was turned up, or an echo that has moved.
_TURNED_UP, _LOST = 1.5, 0.5
_MOST_GAIN = 10.0


class Change(enum.Enum):
    """What has happened to the echo, and what the filter has to do."""

    NONE = enum.auto()
    MOVED = enum.auto()  # the echo path is another one: forget it
    LOUDER = enum.auto()  # the volume was turned up: scale the path by ``DoubleTalk.gain``


class _RestLevel:
    """The level of the rest of the echo, relative to the echo that was removed."""

    def __init__(self) -> None:
        self.mean_db, self.deviation_db, self.count = 0.0, 6.0, 0

    def add(self, level_db: float) -> None:
        """Add a frame. The last 40 frames, 0.8 s, decide."""
        self.count += 1
        share = max(1 / 40, 1 / self.count)
        self.mean_db += share * (level_db - self.mean_db)
        self.deviation_db += share * (1.25 * abs(level_db - self.mean_db) - self.deviation_db)


class DoubleTalk:
    """Judges each residual of the filter: the person, or the rest of the echo."""

    def __init__(self) -> None:
        self.noise = 1e-6  # the room's, mean power, full scale 1
        self.far = False  # the far end can be heard in the room
        self.change = Change.NONE  # what the last frame has shown
        self.gain = 1.0  # after LOUDER: by how much, amplitude
        self.new_sound = False  # a person, or the echo at another time, may just have begun
        self._tail = 0  # frames for which the far end can still be heard
        self._closed = 0  # frames for which the gate stays closed, see ``close_for``
        self.forget()
        self._first_room = True

    def forget(self) -> None:
        """Start again: the room or a device has changed. Keep only the room's noise."""
        # In another room the echo may come at a time at which the filter does not look for it. The
        # canceller calls this at its first aligned frame, so the stage never uses the rule of the
        # first room. With the rule, 49 instead of 12 of 60 persons were heard who began 0.6 s into
        # the first reply, but in 120 runs the rest of the echo became a turn three times, at least
        # once while nobody spoke.
        self._first_room = False
        self._found = 0  # loud frames from which the filter has removed most
        self.learnt = False  # how loud the rest of the echo is
        self._echo = 1e-12  # power of the echo that was removed, decaying as the room's does
        self._rest = _RestLevel()
        self._frames = 0  # frames with a far end
        self._presence = EchoPresence()
        self._new_frames = 0
        self.follow()
        self._hold = 0

    @property
    def no_echo(self) -> bool:
        """Whether the far end was heard for a while and left nothing in the microphone."""
        return self._presence.absent

    def close(self) -> None:
        """Close the gate: what seemed a person was none."""
        self._hold = 0

    def close_for(self, frames: int) -> None:
        """Keep the gate closed for so many frames, unless there is no echo.

        The echo may be one of sound that never arrived here.
        """
        self._closed = max(self._closed, frames)

    def follow(self) -> None:
        """Judge the echo's gain anew: the filter has followed a change of the same room."""
        self._suspicion = 0.0
        self._short_gain, self._long_gain = EchoGain(_SHORT), EchoGain(_LONG)

    def is_loud(self, near: Samples) -> bool:
        """Return whether a frame of the microphone holds more than the room's noise."""
        return power(near) > _LOUD * self.noise

    def judge(self, near: Samples, residual: Samples, far: Samples, uncertain_power: float) -> bool:
        """Return whether the gate is open: a person speaks, or no echo can be heard.

        ``near`` is a frame of the microphone, ``residual`` what the filter leaves of it, ``far``
        the speaker's; full scale 1. ``uncertain_power`` is how much of the residual may be echo
        that the filter has not learnt.
        """
        self.change, self.new_sound = Change.NONE, False
        echo = near - residual
        echo_power, residual_power = power(echo), power(residual)
        near_power = power(near)
        # An echo that is not learnt yet must not pass for noise: the gate attenuates to the noise.
        rises = 1.0 if self.far and not self.learnt else _NOISE_RISES
        self.noise = min(near_power, residual_power, self.noise * rises) + 1e-12
        far_power = power(far)
        far_sounds = far_power > _SILENCE
        self._tail = _TAIL if far_sounds else max(0, self._tail - 1)
        self._closed = max(0, self._closed - 1)
        self.far = self._tail > 0
        if self._closed:
            return self.no_echo
        if not self.far:
            self._hold = 0
            return True
        self._echo = max(echo_power, self._echo * _DECAY)
        near_echo = float(np.dot(near, echo)) / len(near)
        # An echo of another loudness than predicted is no person: a speaker that is driven hard
        # compresses, and a volume can be turned.
        gain = min(_LOUDEST, max(_SOFTEST, near_echo / (echo_power + 1e-12)))
        rest = near_power - gain * (2 * near_echo - gain * echo_power)
        rest_db = 10 * math.log10((max(0.0, rest) + 1e-12) / (self._echo + 1e-12))
        self._short_gain.add(near_echo, echo_power, residual_power)
        self._long_gain.add(near_echo, echo_power, residual_power)
        audible = self._echo > _AUDIBLE * self.noise
        gain_off = audible and self._short_gain.is_off(3)
        person = (
            self.learnt
            and not gain_off
            and residual_power > _LOUD * self.noise
            and rest_db
            > max(WEAKEST_DB, self._rest.mean_db + _DEVIATIONS * self._rest.deviation_db)
        )
        near_loud = near_power > _LOUD * self.noise
        if not self.learnt and self._first_room:
            self._found += near_loud and residual_power < _FOUND_REST * near_power
            surely = residual_power > _SURELY * (uncertain_power + _LOUD * self.noise)
            person = self._found >= _FOUND_FRAMES and surely
        if far_sounds:
            self._frames += 1
            self._look_for_echo(far_power, near_power, echo_power, near_loud)
        if not self.learnt:
            self.learnt = self._frames > _HOPELESS or self._is_usable()
        elif echo_power > _LOUD * self.noise and not self.no_echo:
            self._suspect()
        if audible and not person and not (self._hold and self.learnt):
            self._rest.add(rest_db)
        if self.learnt and (person or gain_off):
            self._new_frames += 1
        elif not self._hold:
            self._new_frames = 0
        self.new_sound = 0 < self._new_frames <= _NEW
        if person:
            self._hold = _HOLD
        elif gain_off and self.learnt:
            self._hold = 0
        elif self._hold:
            quiet = (
                residual_power < _LOUD * self.noise
                or rest_db < self._rest.mean_db + self._rest.deviation_db
            )
            self._hold = max(0, self._hold - (_QUIET_COUNTS if quiet else 1))
        return person or self._hold > 0

    def _look_for_echo(
        self, far_power: float, near_power: float, echo_power: float, near_loud: bool
    ) -> None:
        changed = self._presence.add(
            frames=self._frames,
            far_power=far_power,
            near_power=near_power,
            echo_power=echo_power,
            near_loud=near_loud,
            learnt=self.learnt,
            gain_right=not self._long_gain.is_off(3),
        )
        if changed:
            # Without an echo there is nothing to learn; with a new one, everything.
            self.learnt = self.no_echo

    def _is_usable(self) -> bool:
        """Return whether the rest of the echo is known well enough to tell a person from it."""
        return (
            self._frames >= _LEARNING
            and self._rest.count >= _LEARNING // 2
            and self._rest.mean_db < _USABLE_DB
            and not self._long_gain.is_off(3)
        )

    def _suspect(self) -> None:
        """Find out whether the echo has moved, or become louder or softer."""
        off = self._short_gain.is_off(6) or self._long_gain.is_off(5)
        self._suspicion = self._suspicion + 1 if off else max(0.0, self._suspicion - _FORGIVEN)
        if self._suspicion < _SUSPICIOUS:
            return
        gain = self._long_gain.value
        if gain > _TURNED_UP:
            self.change, self.gain = Change.LOUDER, min(gain, _MOST_GAIN)
            self.follow()
        elif gain < _LOST:
            self.change = Change.MOVED


def power(samples: Samples) -> float:
    """Return the mean power of samples, full scale 1."""
    return float(np.dot(samples, samples)) / len(samples)
