"""What time it is on another machine: its moments, as moments of the clock here. Pure.

Times on the bus are CLOCK_MONOTONIC, which counts from each machine's own start. The difference is
taken from the messages themselves: from when each was published there and read here. The one that
was fastest on its way tells it best, to within its time on the network.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from shared import messages

#: How long the fastest message is believed: clocks drift apart, and one stops while its machine
#: sleeps.
WINDOW_NS = 5_000_000_000
LARGEST = 2**63 - 1

M = TypeVar("M", bound=messages.Message)


class Clock:
    """One publisher's clock, followed by its messages."""

    def __init__(self) -> None:
        self._epoch = -1
        self._offset = 0  # ns to add to a time there
        self._fastest = 0  # the same, of this window alone
        self._begun = 0  # when the window began

    def here(self, message: M, stamp: messages.Stamp, now_ns: int) -> tuple[M, messages.Stamp]:
        """Give a message that was read at ``now_ns`` with its times as times here."""
        offset = self._follow(stamp, now_ns)
        return (
            msgspec.structs.replace(
                message,
                **{
                    name: _moved(at, offset)
                    for name in messages.moments(type(message))
                    if (at := getattr(message, name))
                },
            ),
            msgspec.structs.replace(stamp, t=_moved(stamp.t, offset)),
        )

    def _follow(self, stamp: messages.Stamp, now_ns: int) -> int:
        seen = now_ns - stamp.t
        if stamp.epoch != self._epoch:
            # it may have been started anew on yet another machine
            self._epoch, self._offset, self._fastest, self._begun = stamp.epoch, seen, seen, now_ns
        elif now_ns - self._begun > WINDOW_NS:
            self._offset, self._fastest, self._begun = self._fastest, seen, now_ns
        self._fastest = min(self._fastest, seen)
        self._offset = min(self._offset, seen)
        return self._offset


def _moved(at: int, offset: int) -> int:
    return min(max(1, at + offset), LARGEST)
