"""The readers of a publisher's topics, and the messages that wait for them. Pure: fed with
subscriptions.

A reader that subscribes to a topic's name *observes*: it gets each message at once, and no message
waits for it. A reader that *consumes* a lossless topic subscribes to the name with ``!`` before it.
While nobody consumes the topic, the publisher holds the messages.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from shared.registry import Topic

#: A message is held this long: stages start within seconds of each other, and a stage that died is
#: back within seconds.
HOLD_NS = 10_000_000_000
#: Upper limit for the held messages of one topic: three minutes of speech in one burst are 12 MB of
#: text.
HOLD_BYTES = 32 * 1024 * 1024

Frames = tuple[bytes, bytes, bytes]


def subscription(topic: Topic, *, observer: bool) -> bytes:
    """Return the prefix that a reader of a topic subscribes to."""
    return (topic.name if observer else topic.consumed_name).encode()


class Hold:
    """The messages that wait for a topic's consumer, in order.

    ``most``: the most messages. The age and the bytes are limited as well. A message that is over a
    limit is dropped, the oldest first.
    """

    def __init__(self, most: int) -> None:
        self._waiting: deque[tuple[int, Frames]] = deque()
        self._most = most
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, at_ns: int, frames: Frames) -> None:
        """Add a message that is published at ``at_ns``."""
        self._waiting.append((at_ns, frames))
        self._bytes += len(frames[1]) + len(frames[2])
        self.trim(at_ns)

    def trim(self, now_ns: int) -> None:
        """Drop the messages that are over a limit."""
        waiting = self._waiting
        while waiting and (
            now_ns - waiting[0][0] > HOLD_NS
            or self._bytes > HOLD_BYTES
            or len(waiting) > self._most
        ):
            _, frames = waiting.popleft()
            self._bytes -= len(frames[1]) + len(frames[2])

    def take(self, now_ns: int) -> list[Frames]:
        """Return the messages that are within the limits, and forget all."""
        self.trim(now_ns)
        taken = [frames for _, frames in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return taken


class Audience:
    """The subscriptions to the topics of one endpoint.

    A reader that subscribed twice must leave twice. Until then it counts, and nothing is held for
    the next reader.
    """

    def __init__(self, rows: Iterable[Topic]) -> None:
        self._rows = list(rows)
        self._names = [name for row in self._rows for name in {row.name, row.consumed_name}]
        #: The subscriptions that can match a topic here, by prefix.
        self.counts: Counter[str] = Counter()

    def update(self, request: bytes) -> str | None:
        """Count a subscription or its end. Return the prefix of a new subscription, else None.

        ``request`` is what an XPUB socket receives: the byte 1 or 0, then the prefix.
        """
        prefix = request[1:].decode("utf-8", "replace")
        begins = request[:1] == b"\x01"
        # Counting a subscription that matches no topic here would only take memory.
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
        """The names of the topics that somebody consumes or observes."""
        return {row.name for row in self._rows if self.observed(row) or self.consumed(row)}

    def observed(self, topic: Topic) -> bool:
        """Return whether somebody gets the messages under the topic's bare name."""
        return any(map(topic.name.startswith, self.counts))

    def consumed(self, topic: Topic) -> bool:
        """Return whether somebody subscribes to exactly the name that a consumer subscribes to.

        A shorter prefix does not count: a tool that subscribes to everything consumes nothing.
        """
        return topic.consumed_name in self.counts
