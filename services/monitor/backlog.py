"""The messages that wait for one watcher. Pure.

A watcher that does not take its messages in time loses them, and no other watcher does. The watcher
then gets the number of lost messages, and a new snapshot: what it shows is no longer right.
"""

from __future__ import annotations

from collections import deque

#: The most messages and bytes that wait for a watcher: several seconds with both voices.
MOST, MOST_BYTES = 512, 1024 * 1024


class Backlog:
    """A queue of messages: text as bytes of JSON, and sound as bytes behind a first byte."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._bytes = 0
        #: Messages that were dropped since the watcher last heard of any.
        self.dropped = 0

    def put(self, data: bytes, *, sound: bool = False) -> bool:
        """Add a message. Return False, and drop everything, if there is no room for it."""
        if self.dropped:
            self.dropped += 1
            return False
        if len(self._waiting) >= MOST or self._bytes + len(data) > MOST_BYTES:
            self.dropped = len(self._waiting) + 1
            self._waiting.clear()
            self._bytes = 0
            return False
        self._waiting.append((data, sound))
        self._bytes += len(data)
        return True

    def take(self) -> tuple[bytes, bool] | None:
        """Return the oldest message, and whether it is sound; None if none waits."""
        if not self._waiting:
            return None
        data, sound = self._waiting.popleft()
        self._bytes -= len(data)
        return data, sound

    def accept_again(self) -> int:
        """Return how many messages were dropped, and accept messages again."""
        dropped, self.dropped = self.dropped, 0
        return dropped
