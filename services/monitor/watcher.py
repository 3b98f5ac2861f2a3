"""One watcher of the conversation, on the web server's side."""

from __future__ import annotations

import asyncio

import msgspec

from services.monitor.backlog import Backlog

#: A watcher can ask for these beside the changes.
LEVELS, VOICES = "levels", "voices"


class Watcher:
    """A client that gets a snapshot and then the changes. ``wants``: LEVELS, VOICES or both."""

    def __init__(self, wants: frozenset[str]) -> None:
        self.wants = wants
        self.backlog = Backlog()
        #: Whether the watcher has lost messages and needs a new snapshot.
        self.lost = False
        self._more = asyncio.Event()

    def put(self, data: bytes, *, sound: bool = False) -> None:
        """Add a message, if there is room for it."""
        self.backlog.put(data, sound=sound)
        self._more.set()

    async def next(self) -> tuple[bytes, bool]:
        """Return the next message, and whether it is sound."""
        while True:
            if dropped := self.backlog.accept_again():
                self.lost = True
                return msgspec.json.encode({"type": "dropped", "count": dropped}), False
            if (waiting := self.backlog.take()) is not None:
                return waiting
            self._more.clear()
            await self._more.wait()
