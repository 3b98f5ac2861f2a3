"""The clocks of other machines: translate a message's times to the clock of this machine. Pure.

Times on the bus are CLOCK_MONOTONIC, which counts from each machine's own start. The difference of
two clocks is taken from the messages: each one has the time at which it was published there, and is
read here. The fastest message has the most exact difference; the error is its time on the network.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from shared import messages

#: How long the fastest message counts, ns: clocks drift apart, and a machine's clock stops while
#: the machine sleeps.
WINDOW_NS = 5_000_000_000
LARGEST = 2**63 - 1

M = TypeVar("M", bound=messages.Message)


class Clock:
    """The clock of one publisher's machine, estimated from the publisher's messages."""

    def __init__(self) -> None:
        self._epoch = -1
        #: What to add to a time of that clock, ns.
        self._offset = 0
        #: The same, from the messages of the current window only, ns.
        self._fastest = 0
        #: When the current window began, ns.
        self._begun = 0

    def here(self, message: M, stamp: messages.Stamp, now_ns: int) -> tuple[M, messages.Stamp]:
        """Return a message that was read at ``now_ns``, and its stamp, in this machine's time."""
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
            # A restarted publisher may run on another machine.
            self._epoch, self._offset, self._fastest, self._begun = stamp.epoch, seen, seen, now_ns
        elif now_ns - self._begun > WINDOW_NS:
            self._offset, self._fastest, self._begun = self._fastest, seen, now_ns
        self._fastest = min(self._fastest, seen)
        self._offset = min(self._offset, seen)
        return self._offset


def _moved(at: int, offset: int) -> int:
    return min(max(1, at + offset), LARGEST)
