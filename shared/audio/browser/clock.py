"""The audio clock of a page, translated to CLOCK_MONOTONIC. Pure.

The page stamps its messages with the time of its audio clock, which counts the samples that the
browser has rendered. A message arrives a little later: it waits for the end of the browser's buffer
and travels. The fastest of the last messages has the most exact difference of the two clocks. Only
the last two seconds count, because the clocks drift apart: by 0.2 ms in that time if one of them is
off by 100 ppm.
"""

from __future__ import annotations

from collections import deque

#: The fastest message of each quarter of a second is kept, of eight quarters.
BUCKET_NS = 250_000_000
BUCKETS = 8


class PageClock:
    """The audio clock of one page, estimated from the times at which its messages arrived."""

    def __init__(self) -> None:
        # for each bucket: when it began, and the smallest difference in it, ns
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        self._offset = 0

    def add(self, clock_s: float, now_ns: int) -> None:
        """Take the stamp of a message that arrived at ``now_ns``."""
        seen = now_ns - round(clock_s * 1e9)
        buckets = self._buckets
        if not buckets or now_ns - buckets[-1][0] >= BUCKET_NS:
            while buckets and now_ns - buckets[0][0] >= BUCKETS * BUCKET_NS:
                buckets.popleft()
            buckets.append((now_ns, seen))
            self._offset = min(fastest for _, fastest in buckets)
        elif seen < buckets[-1][1]:
            buckets[-1] = (buckets[-1][0], seen)
            self._offset = min(self._offset, seen)

    def ns(self, clock_s: float) -> int:
        """Return the monotonic time of a time of the page's clock, ns."""
        return round(clock_s * 1e9) + self._offset
