"""How loud the echo is, compared with the filter's prediction of it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The independent samples in a frame of speech. They decide by how much a correlation over one
#: frame scatters.
_INDEPENDENT = 20
#: From frame to frame the true echo may be this much softer or louder than predicted (amplitude):
#: a speaker that is driven hard compresses. A gain that differs from 1 by more is a volume that was
#: turned, or an echo that has moved.
TOLERANCE = 0.5


@dataclass
class EchoGain:
    """A running estimate of the gain from the predicted echo to the true one.

    The gain is 1 where the filter is right, whoever else speaks. ``retention`` is the share of the
    estimate that is kept from frame to frame.
    """

    retention: float
    _near_echo: float = 0.0
    _echo: float = 0.0
    _residual: float = 0.0
    _echo_squared: float = 0.0

    def add(self, near_echo: float, echo: float, residual: float) -> None:
        """Add a frame.

        ``near_echo`` is the mean product of the microphone and the predicted echo, ``echo`` the
        mean power of the predicted echo, ``residual`` the mean power of the residual.
        """
        self._near_echo = self.retention * self._near_echo + near_echo
        self._echo = self.retention * self._echo + echo
        self._residual = self.retention * self._residual + residual
        self._echo_squared = self.retention * self.retention * self._echo_squared + echo * echo

    @property
    def value(self) -> float:
        """The gain, in amplitude; 1 while nothing is known."""
        return self._near_echo / self._echo if self._echo > 0 else 1.0

    def is_off(self, deviations: float) -> bool:
        """Return whether the gain is more than ``deviations`` standard deviations away from 1."""
        if self._echo_squared <= 0:
            return False
        # Loud frames decide: this is how many frames of equal power would weigh the same.
        frames = self._echo * self._echo / self._echo_squared
        deviation = math.sqrt(self._residual / self._echo / (_INDEPENDENT * frames))
        return abs(1 - self.value) > max(TOLERANCE, deviations * deviation)
