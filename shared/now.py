"""The clocks that a process reads: the machine's, or the clocks of a recording that is replayed.

Read a clock as ``now.monotonic_ns()``, with the module's name, so that ``set_clocks`` takes effect
everywhere at once. Code that decides something by the time reads these clocks. Code that only waits
for the machine (a socket, a device, a signal) reads the module ``time``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: CLOCK_MONOTONIC, ns.
monotonic_ns: Callable[[], int] = time.monotonic_ns
#: The time since 1970, ns.
time_ns: Callable[[], int] = time.time_ns


def monotonic() -> float:
    """Return CLOCK_MONOTONIC, s."""
    return monotonic_ns() / 1e9


def date() -> str:
    """Return the date of this machine, as YYYY-MM-DD."""
    return time.strftime("%F", time.localtime(time_ns() / 1e9))


def set_clocks(monotonic: Callable[[], int], wall: Callable[[], int]) -> None:
    """Replace both clocks of this process; each returns ns."""
    global monotonic_ns, time_ns
    monotonic_ns, time_ns = monotonic, wall
