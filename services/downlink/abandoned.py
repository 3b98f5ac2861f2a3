"""When the rest of a reply that is over counts as abandoned: nobody will hear it any more. Pure.

A stage that dies takes audio with it. Then a part of the reply is missing, in its middle or at its
end. If the person interrupts the reply, the server is told how much was heard. If nobody interrupts
it, the server would take the whole reply for heard; downlink then flushes, with the cause
"abandoned".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set as AbstractSet

from services.downlink.audio_item import Key
from shared.oldest import drop_oldest

#: Quiet time after which no audio can still be on its way to the speaker.
QUIET_NS = 2_000_000_000
#: Playback publishes the playhead every second. A playback that was stopped for longer makes its
#: first report before it reads the audio that waits for it. So that report is ignored.
MAX_SILENCE_NS = 1_500_000_000
#: How many abandoned items are remembered, so that each is reported once.
MAX_REMEMBERED = 256


class Abandoned:
    """Says when the rest of some items is abandoned, once for each item."""

    def __init__(self) -> None:
        # The items that were unfinished at the last call of `look`.
        self._unfinished: AbstractSet[Key] = frozenset()
        self._unfinished_since_ns = 0  # since when exactly these items have been unfinished
        self._looked_ns = 0  # when `look` was last called
        self._reported: OrderedDict[Key, None] = OrderedDict()

    def look(self, unfinished: AbstractSet[Key], now_ns: int) -> bool:
        """Return whether the rest of the unfinished items is abandoned.

        ``unfinished``: the items that were not heard to their end; empty while anything plays or is
        generated. Items that were reported before do not count. Call this each time playback has
        published the playhead.
        """
        unfinished = unfinished - self._reported.keys()
        if unfinished != self._unfinished or now_ns - self._looked_ns > MAX_SILENCE_NS:
            self._unfinished, self._unfinished_since_ns = unfinished, now_ns
        self._looked_ns = now_ns
        if not unfinished or now_ns - self._unfinished_since_ns < QUIET_NS:
            return False
        for key in unfinished:
            self._reported[key] = None
        drop_oldest(self._reported, MAX_REMEMBERED)
        return True
