"""When to connect again after a connection was lost. Pure.

The delay depends on the cause, and on how long the connection had lasted.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from services.link.endings import Ending, Lost, Refused
from shared.messages import Cause

#: A connection that lasted this long, s, was a good one: the next delay is the first one again.
GOOD_AFTER_S = 5.0
#: After a good connection, the first attempt is made within this time, ms. The moment is random, so
#: that the many clients of one server do not come back at the same time.
AT_ONCE_MS = 100
#: After a refusal, a delay is this many times as long, up to the longest one. A refusal that may
#: pass (a portal, a slot, a clock) takes a while, and many attempts would look like an attack.
SLOWER = 4
#: The causes after which the server is likely to be reachable at once.
RETRY_AT_ONCE = frozenset[Cause]({"expired", "closed", "reset", "silent", "stalled"})


@dataclass
class Backoff:
    """Delays that double from ``first_ms`` to ``max_ms``.

    Each delay is shortened at random by up to half, so that the many clients of one server do not
    come back at the same time.
    """

    first_ms: int
    max_ms: int
    chance: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def delay_after(self, ending: Ending, lasted_s: float) -> int:
        """Return how long to wait before the next attempt, ms.

        ``lasted_s`` is how long the connection had lasted, s; 0 if there was none. If a good
        connection ended, the next attempt is made at once. Otherwise the delay is the next of the
        doubling delays, or longer after a refusal or if the server asked for it, but never longer
        than ``max_ms``.
        """
        if lasted_s > GOOD_AFTER_S and ending.cause != "hostile":
            self.reset()
            if ending.cause in RETRY_AT_ONCE:
                return int(min(AT_ONCE_MS, self.max_ms) * self.chance.random())
        delay_ms = self.next_ms(SLOWER if isinstance(ending, Refused) else 1)
        asked_ms = ending.asked_ms if isinstance(ending, Lost) else 0
        return max(delay_ms, min(asked_ms, self.max_ms))

    def next_ms(self, times: int = 1) -> int:
        """Return the next of the doubling delays, ms, multiplied by ``times``."""
        full = min(self.max_ms, times * self.first_ms << min(self._tries, 30))
        self._tries += 1
        return int(full * (0.5 + self.chance.random() / 2))

    def reset(self) -> None:
        """Start with the first delay again."""
        self._tries = 0
