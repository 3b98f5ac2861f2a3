"""Whether the person speaks while the assistant does, or whether that is only its echo. Pure.

What the linear filter leaves is the person, noise, and the rest of the echo. How loud that rest is,
beside the echo that was taken out, is learnt while nobody speaks: what is clearly louder is a
person. What is left and still looks like the echo is no person: the room has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from services.echo.kalman import Samples

#: A person who is this much weaker than the assistant, in the microphone, is not taken for one, dB.
WEAKEST_DB = -9.0
#: The rest of the echo scatters: a person is above its mean by so many times its mean deviation.
_DEVIATIONS = 2.5
#: From frame to frame the echo may be so much softer or louder than the filter has it, amplitude.
_SOFTEST, _LOUDEST = 0.5, 1.5
#: Above the noise by so much, in power, is loud; and an echo above it may be heard.
_LOUD = 6.0
_AUDIBLE = 2.0
#: The far end can still be heard for so many frames after it was silent: 0.6 s.
_TAIL = 30
#: What is quieter than this is no far end, full scale 1, power.
_SILENCE = 1e-7
_LOUD_FAR = 1e-4
#: A room's echo dies away by at least this from frame to frame, in power: 75 dB a second.
_DECAY = 10**-0.15
#: Noise rises slowly, 6 dB a second, so that a word is not taken for it.
_NOISE_RISES = 10**0.0125
#: After a person's last loud frame they may go on: 200 ms.
_HOLD = 10
_BEGINS = 8  # frames for which what is not the echo as it was has just begun
_FADES = 3  # frames of that for each in which nothing is heard
#: Independent samples in a frame of speech: what a correlation over one scatters by.
_INDEPENDENT = 20
_SHORT, _LONG = 0.6, 0.9  # how much of a correlation stays from frame to frame
#: Frames with echo until what was learnt of the room is believed.
_LEARNING = 25
#: Frames with a far end and without an echo until there is none, and those before it can be here.
_NO_ECHO = 40
_SURE = 80
_ON_ITS_WAY = 15
#: Before that, in the first room, a person is so much louder than all that the filter may have
#: missed, in power: once it has taken out all but so much in so many frames, and is known to look
#: where the echo is.
_SURELY = 10.0
_FOUND, _TAKEN = 5, 0.25
#: What the filter takes out is no echo when the microphone has no more of it than this, in power.
_NOTHING = 0.1
#: So many frames more with an echo than without one, and headphones were plugged out: a person's
#: voice is alike to the assistant's for a few in a row.
_PLUGGED_OUT = 15
#: After so many frames of echo that cannot be learnt, a person must be let through all the same.
_HOPELESS = 500
#: Frames with something that looks like an echo that has moved until it is believed to have.
_PATIENCE = 3.0

Change = Literal["", "moved", "louder"]


@dataclass
class _Likeness:
    """The microphone's likeness to the echo: 1 where the filter is right, whoever else speaks."""

    stays: float
    with_near: float = 0.0
    echo: float = 0.0
    left: float = 0.0
    squares: float = 0.0

    def add(self, with_near: float, echo: float, left: float) -> None:
        self.with_near = self.stays * self.with_near + with_near
        self.echo = self.stays * self.echo + echo
        self.left = self.stays * self.left + left
        self.squares = self.stays * self.stays * self.squares + echo * echo

    @property
    def gain(self) -> float:
        """How loud the echo is beside what the filter thinks."""
        return self.with_near / self.echo if self.echo > 0 else 1.0

    def off(self, by: float) -> bool:
        """Whether the gain is off by so many times what chance would have it off."""
        if self.squares <= 0:
            return False
        # the loud frames are those that count
        frames = self.echo * self.echo / self.squares
        chance = math.sqrt(self.left / self.echo / (_INDEPENDENT * frames))
        return abs(1 - self.gain) > max(0.5, by * chance)


class Rest(msgspec.Struct, frozen=True):
    """What is left of an echo that is known, and of the room without it."""

    mean: float  # dB, beside the echo that was taken out
    deviation: float  # dB
    noise: float  # power
    no_echo: bool


class DoubleTalk:
    """Judges frame by frame what the filter has left."""

    def __init__(self) -> None:
        self.noise = 1e-6  # of the microphone, power
        self.far = False  # the far end can be heard
        self.change: Change = ""  # what the filter has to be told
        self.gain = 1.0  # with "louder": by how much
        self.strange = False  # a person, or the echo at another time, may just have begun
        self._tail = 0
        self._hold = 0
        self.blind = 0  # frames for which an echo may be of what is not known: closed
        self.forget()
        self._moved = False

    def forget(self) -> None:
        """Begin anew: the room has changed."""
        # what the filter looks for there may be where it does not look
        self._moved = True
        self._found = 0
        self.learnt = False
        self._echo = 1e-12  # the echo taken out, dying away as the room's does
        self._mean, self._deviation, self._count = 0.0, 6.0, 0
        self._frames = self._quiet = self._echoes = 0
        self.no_echo = False  # the far end has been heard for a while and left nothing
        self._strange = 0
        self.moved()
        self._hold = 0

    def rest(self) -> Rest | None:
        """Give what was learnt of the room; None where nothing was."""
        if not self.learnt or self.blind:
            return None
        return Rest(self._mean, self._deviation, self.noise, self.no_echo)

    def recall(self, rest: Rest) -> None:
        """Go on from what was learnt."""
        self.forget()
        self._mean, self._deviation, self.noise = rest.mean, rest.deviation, rest.noise
        self._count = self._frames = _LEARNING
        self.learnt, self.no_echo = True, rest.no_echo
        self._quiet = _NO_ECHO if rest.no_echo else 0

    def close(self) -> None:
        """Take back that a person speaks."""
        self._hold = 0

    def moved(self) -> None:
        """Judge the echo anew where it is now: the room is the same."""
        self._suspicion = 0.0
        self._short, self._long = _Likeness(_SHORT), _Likeness(_LONG)

    def loud(self, near: Samples) -> bool:
        """Say whether a frame of the microphone holds more than the room's noise."""
        return power(near) > _LOUD * self.noise

    def judge(self, near: Samples, left: Samples, far: Samples, unsure: float) -> bool:
        """Say whether a frame holds what should be heard: a person, or no echo at all.

        ``near`` is the microphone, ``left`` what the filter leaves of it, ``far`` the speaker;
        ``unsure``: how much of what is left may be echo that the filter does not know, power.
        """
        self.change, self.strange = "", False
        echo = near - left
        echo_power, left_power = power(echo), power(left)
        near_power = power(near)
        # an echo that is not learnt yet is not to be taken for it: the gate would not close enough
        rises = 1.0 if self.far and not self.learnt else _NOISE_RISES
        self.noise = min(near_power, left_power, self.noise * rises) + 1e-12
        far_power = power(far)
        heard = far_power > _SILENCE
        self._tail = _TAIL if heard else max(0, self._tail - 1)
        self.blind = max(0, self.blind - 1)
        self.far = self._tail > 0
        if self.blind:
            return self.no_echo
        if not self.far:
            self._hold = 0
            return True
        self._echo = max(echo_power, self._echo * _DECAY)
        with_near = float(np.dot(near, echo)) / len(near)
        # a speaker that is driven hard gives less than it should, and a volume is turned: an echo
        # of another loudness is no person
        gain = min(_LOUDEST, max(_SOFTEST, with_near / (echo_power + 1e-12)))
        rest = near_power - gain * (2 * with_near - gain * echo_power)
        rest_db = 10 * math.log10((max(0.0, rest) + 1e-12) / (self._echo + 1e-12))
        self._short.add(with_near, echo_power, left_power)
        self._long.add(with_near, echo_power, left_power)
        audible = self._echo > _AUDIBLE * self.noise
        unlike = audible and self._short.off(3)
        person = (
            self.learnt
            and not unlike
            and left_power > _LOUD * self.noise
            and rest_db > max(WEAKEST_DB, self._mean + _DEVIATIONS * self._deviation)
        )
        if not (self.learnt or self._moved):
            loud = near_power > _LOUD * self.noise
            self._found += loud and left_power < _TAKEN * near_power
            surely = left_power > _SURELY * (unsure + _LOUD * self.noise)
            person = self._found >= _FOUND and surely
        if heard:
            self._frames += 1
            self._look_for_echo(near_power, echo_power, far_power)
        if not self.learnt:
            self.learnt = self._frames > _HOPELESS or self._believable()
        elif echo_power > _LOUD * self.noise and not self.no_echo:
            self._suspect()
        if audible and not person and not (self._hold and self.learnt):
            self._learn(rest_db)
        if self.learnt and (person or unlike):
            self._strange += 1
        elif not self._hold:
            self._strange = 0
        self.strange = 0 < self._strange <= _BEGINS
        if person:
            self._hold = _HOLD
        elif unlike and self.learnt:
            self._hold = 0
        elif self._hold:
            # a frame with nothing above the noise and the usual rest has nothing to hold open for
            soft = left_power < _LOUD * self.noise or rest_db < self._mean + self._deviation
            self._hold = max(0, self._hold - (_FADES if soft else 1))
        return person or self._hold > 0

    def _look_for_echo(self, near_power: float, echo_power: float, far_power: float) -> None:
        """Count the frames in which a loud far end leaves nothing in the microphone."""
        due = far_power > _LOUD_FAR and self._frames > _ON_ITS_WAY
        if near_power <= _LOUD * self.noise:
            self._quiet = min(_SURE, self._quiet + due)
        elif not self.learnt and echo_power < _NOTHING * near_power:
            # a person, in whose voice a filter that has had its time finds nothing of the far end
            self._quiet = min(_SURE, self._quiet + 2 * (due and self._frames > _NO_ECHO))
        elif echo_power > 0.25 * near_power and not self._long.off(3):
            self._echoes += 1
            if not self.no_echo:
                self._quiet = max(0, self._quiet - _SURE // 8)
            elif self._echoes >= _PLUGGED_OUT:
                self._quiet = 0
        else:
            self._echoes = max(0, self._echoes - 1)
        if self.no_echo != (self._quiet >= _NO_ECHO):
            self.no_echo = not self.no_echo
            self.learnt = self.no_echo

    def _believable(self) -> bool:
        return (
            self._frames >= _LEARNING
            and self._count >= _LEARNING // 2
            and self._mean < -6
            and not self._long.off(3)
        )

    def _learn(self, rest_db: float) -> None:
        self._count += 1
        share = max(1 / 40, 1 / self._count)
        self._mean += share * (rest_db - self._mean)
        self._deviation += share * (1.25 * abs(rest_db - self._mean) - self._deviation)

    def _suspect(self) -> None:
        """Look whether the echo has moved, or become louder or softer."""
        off = self._short.off(6) or self._long.off(5)
        self._suspicion = self._suspicion + 1 if off else max(0.0, self._suspicion - 0.25)
        if self._suspicion < _PATIENCE:
            return
        gain = self._long.gain
        if gain > 1.5:
            self.change, self.gain = "louder", min(gain, 10.0)
            self.moved()
        elif gain < 0.5:
            self.change = "moved"


def power(samples: Samples) -> float:
    """Give the mean power of samples, full scale 1."""
    return float(np.dot(samples, samples)) / len(samples)
