"""What nobody will hear any more, of a reply that is over: how the server comes to know. Pure.

A stage that dies takes audio along: the reply goes on behind a hole, or ends before its end. Who
talks over it has it truncated; where nobody does, the server would take all of it for heard.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set as AbstractSet

#: So long nothing plays and nothing comes: what is on its way to the speaker is there by then.
SURE_NS = 2_000_000_000
#: Playback tells of the playhead every second. One that was stopped tells first, and reads then.
BEAT_NS = 1_500_000_000
REMEMBERED = 256

_Key = tuple[str, int]


class Abandoned:
    """Says when what is left of some items will not be heard: once for each of them."""

    def __init__(self) -> None:
        self._left: AbstractSet[_Key] = frozenset()
        self._since_ns = self._looked_ns = 0
        self._settled: OrderedDict[_Key, None] = OrderedDict()

    def look(self, left: AbstractSet[_Key], now_ns: int) -> bool:
        """Look at what playback has told just now: ``left`` was not heard, and nothing plays."""
        left = left - self._settled.keys()
        if left != self._left or now_ns - self._looked_ns > BEAT_NS:
            self._left, self._since_ns = left, now_ns
        self._looked_ns = now_ns
        if not left or now_ns - self._since_ns < SURE_NS:
            return False
        for key in left:
            self._settled[key] = None
        while len(self._settled) > REMEMBERED:
            self._settled.popitem(last=False)
        return True
