"""Whether messages arrive on the topics that a stage reads. Pure: the caller passes the time.

A topic is judged by its row in the registry:

- *live* topics are published all the time, at their rate. A live topic is silent after ten periods
  without a message, but not before 3 s. It is off its rate outside 0.8 to 1.2 of the rate;
- *state* topics with a rate are repeated at that rate from their first message on: they are silent
  without a message for ten periods after that;
- other topics are published when something happens, so their silence says nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.registry import Queue, Topic

#: A topic is silent after this many periods without a message, but not before PATIENCE_S, s: a
#: restarted publisher is back within that time.
PERIODS, PATIENCE_S = 10, 3.0
#: The rate is measured over this many calls of ``judge``: 5 s at one per second.
WINDOW = 5
#: The rates that are accepted, as parts of the nominal rate.
LOWEST, HIGHEST = 0.8, 1.2


@dataclass
class _Seen:
    """The arrivals on one topic."""

    topic: Topic
    #: When the last message was noticed, s. Before the first one: when the stage started.
    last_s: float
    #: The times of the last calls of ``judge``, s, with the number of messages by then.
    counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW + 1))


class Arrivals:
    """Counts the messages of each topic that a stage reads, and judges the topics."""

    def __init__(self, topics: Iterable[Topic], now_s: float) -> None:
        self._seen = {topic.name: _Seen(topic, now_s) for topic in topics}
        #: The number of messages taken since the stage started, by topic.
        self.received = dict.fromkeys(self._seen, 0)

    def judge(self, now_s: float) -> tuple[list[str], list[str]]:
        """Return the topics that are silent, and those that are off their rate.

        To be called once a second: messages are noticed only at a call.
        """
        silent: list[str] = []
        off_rate: list[str] = []
        for name, seen in self._seen.items():
            received = self.received[name]
            if received > (seen.counts[-1][1] if seen.counts else 0):
                seen.last_s = now_s
            seen.counts.append((now_s, received))
            topic = seen.topic
            if not self._judged(topic):
                continue
            if now_s - seen.last_s > max(PATIENCE_S, PERIODS / topic.rate_hz):
                silent.append(name)
            elif topic.queue is Queue.LIVE and len(seen.counts) == seen.counts.maxlen:
                begin_s, before = seen.counts[0]
                rate_hz = (received - before) / max(now_s - begin_s, 1e-9)
                if not LOWEST <= rate_hz / topic.rate_hz <= HIGHEST:
                    off_rate.append(name)
        return silent, off_rate

    def _judged(self, topic: Topic) -> bool:
        if not topic.rate_hz or topic.queue is Queue.LOSSLESS:
            return False
        return topic.queue is Queue.LIVE or self.received[topic.name] > 0
