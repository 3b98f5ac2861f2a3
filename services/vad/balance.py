"""How loud the person is in the microphone, compared with the assistant's echo. Pure.

If the echo is much louder than the person, no canceller can find the person in it. The person's
level is that of speech while the assistant is silent. The echo's level is that of the microphone,
before the canceller, while the assistant can be heard.
"""

from __future__ import annotations

import math

import numpy as np

from shared.audio import pcm
from shared.faults import Fault

#: An echo that is louder than the person by more than this hides the person, dB. In three rooms of
#: ``benchmarks.room`` the server's detector found 11 of 12 people under an echo that was 18 dB
#: louder than they were, 7 under 24 dB, and 1 under 30 dB.
HIDDEN_DB = 24.0
#: No canceller removes more than this, dB. A frame that claims more is wrong.
MOST_DB = 100
#: Levels are averaged over some 500 frames, 10 s, and believed after 150 frames, 3 s: some words.
_KEPT, _BELIEVED = 1 - 1 / 500, 150


class _Level:
    """The mean power of some frames, in steps of 16 bits."""

    def __init__(self) -> None:
        self.power, self.frames = 0.0, 0

    def add(self, power: float) -> None:
        self.frames += 1
        self.power += (power - self.power) * max(1 - _KEPT, 1 / self.frames)


def fault_of(echo_db: float) -> Fault:
    """Return the fault: the echo, which is this much louder, hides the person."""
    return Fault(
        "hidden_s",
        f"the speaker is {echo_db:.0f} dB louder than the person",
        f"the microphone hears the speaker {echo_db:.0f} dB louder than the person, so nobody can"
        " talk over the assistant. Lower the speaker's volume, move the microphone away from the"
        " speaker and closer to the person, or use headphones",
        "the person can be heard beside the speaker again",
    )


class Balance:
    """Follows the levels of the person and of the echo."""

    def __init__(self) -> None:
        self._person, self._echo = _Level(), _Level()

    def add(self, frame: bytes, *, far: bool, removed_db: int, speaking: bool) -> None:
        """Add a frame of ``mic.clean``. ``speaking``: whether somebody was heard in it."""
        if not far and not speaking:
            return
        samples = pcm.to_array(frame).astype(np.float32)
        power = float(np.dot(samples, samples)) / max(1, len(samples))
        if far:
            self._echo.add(power * 10 ** (min(removed_db, MOST_DB) / 10))
        else:
            self._person.add(power)

    def fault(self) -> Fault | None:
        """Return the fault if the echo hides the person, else None."""
        return fault_of(self.echo_db) if self.echo_db is not None and self.is_hidden else None

    @property
    def is_hidden(self) -> bool:
        """Whether the person cannot be heard while the assistant speaks."""
        return self.echo_db is not None and self.echo_db > HIDDEN_DB

    @property
    def echo_db(self) -> float | None:
        """By how many dB the echo is louder than the person; None while that is not known."""
        person, echo = self._person, self._echo
        if min(person.frames, echo.frames) < _BELIEVED:
            return None
        return 10 * math.log10((echo.power + 1) / (person.power + 1))
