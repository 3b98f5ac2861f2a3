"""Who reads a publisher's topics, and what waits where nobody does. Pure: fed with subscriptions.

A reader subscribes to a topic's whole name. Who only looks on (the tap, a recorder, a test)
subscribes to less of it, and so gets the same, but nothing waits for them and they take nothing
away.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from shared.registry import Queue, Topic

#: What must not be lost waits this long for a reader: stages start at the same time, and one that
#: died is back within seconds.
HOLD_NS = 10_000_000_000
#: And so many bytes of a topic at most: three minutes of speech in one burst are 12 MB of text.
HOLD_BYTES = 32 * 1024 * 1024
#: What waits is shown to those who look on under its name with this before it.
WAITING = b"?"

Frames = tuple[bytes, bytes, bytes]


def subscriptions(topic: Topic, *, onlooker: bool) -> tuple[bytes, ...]:
    """Give what to subscribe to for a topic."""
    name = topic.name.encode()
    if not onlooker:
        return (name,)
    return (name[:-1], WAITING + name) if topic.queue is Queue.LOSSLESS else (name[:-1],)


class Hold:
    """What waits for a topic's reader: the newest of it, in order.

    ``most``: messages at most. Limited in time and bytes as well; the oldest are let go of first.
    """

    def __init__(self, most: int) -> None:
        self._waiting: deque[tuple[int, Frames]] = deque()
        self._most = most
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, at_ns: int, frames: Frames) -> None:
        """Add a message that is published now."""
        self._waiting.append((at_ns, frames))
        self._bytes += len(frames[1]) + len(frames[2])
        self.trim(at_ns)

    def trim(self, now_ns: int) -> None:
        """Let go of what is too old or too much."""
        waiting = self._waiting
        while waiting and (
            now_ns - waiting[0][0] > HOLD_NS
            or self._bytes > HOLD_BYTES
            or len(waiting) > self._most
        ):
            _, frames = waiting.popleft()
            self._bytes -= len(frames[1]) + len(frames[2])

    def take(self, now_ns: int) -> list[Frames]:
        """Give what is left of it, and keep nothing."""
        self.trim(now_ns)
        taken = [frames for _, frames in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return taken


class Audience:
    """Who is subscribed to the topics of one endpoint.

    A reader that subscribes twice and goes once is counted on: nothing waits for the next one then.
    """

    def __init__(self, rows: Iterable[Topic]) -> None:
        self._names = [row.name for row in rows]
        self.counts: Counter[str] = Counter()  # of the subscriptions that concern us, by prefix

    def told(self, request: bytes) -> str | None:
        """Take what came of a subscription or its end; give the prefix if it is a new one."""
        prefix = request[1:].decode("utf-8", "replace")
        begins = request[:1] == b"\x01"
        # a subscription to what is not here would only take memory
        if any(name.startswith(prefix) for name in self._names):
            if begins:
                self.counts[prefix] += 1
            elif self.counts[prefix] > 1:
                self.counts[prefix] -= 1
            else:
                del self.counts[prefix]
        return prefix if begins else None

    @property
    def subscribed(self) -> set[str]:
        """The topics that somebody gets, be it to look on."""
        return {name for name in self._names if any(map(name.startswith, self.counts))}

    def has_reader(self, name: str) -> bool:
        """Whether somebody reads a topic, and does not only look on."""
        return name in self.counts
