"""When a stage that crashed is started again. Pure."""

from __future__ import annotations

from shared.exit_codes import CRASHED, RESTART

#: The delay before a crashed stage is started again, s, after its first crash: a person hardly
#: notices it. Each further crash doubles the delay, up to the second number: a stage that cannot
#: start must not keep the processor busy.
FIRST_S, MOST_S = 0.2, 30.0
#: A stage that ran for this long, s, had started well: its next crash counts as the first.
STEADY_S = 60.0


def crashed(code: int) -> bool:
    """Return whether starting a stage again may help after this exit code (negative: a signal)."""
    # A shell reports the end by a signal as 128 + the signal's number.
    return code < 0 or code in (CRASHED, RESTART) or code > 128


class Delays:
    """The delays before one stage is started again."""

    def __init__(self) -> None:
        self._next = FIRST_S

    def after(self, code: int, ran_s: float) -> float:
        """Return the delay, s, after a run of ``ran_s`` seconds that ended with this exit code."""
        if code == RESTART:
            return 0.0
        if ran_s > STEADY_S:
            self._next = FIRST_S
        delay, self._next = self._next, min(2 * self._next, MOST_S)
        return delay
