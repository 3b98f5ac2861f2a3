"""The report of ``bargein tap health``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared import messages, registry
from shared.printable import printable

#: The width of the first column: the names of the stages. The lines below a stage are indented.
NAME = 10
#: A stage publishes its health once a second. After this long without, ns, its loop hangs.
STUCK_NS = 3_000_000_000


@dataclass
class Watched:
    """The health of one stage from which its rates are counted, and the latest, with the times."""

    first: messages.Health
    first_ns: int
    last: messages.Health
    last_ns: int
    #: Whether ``first`` can be the repetition that each new reader gets: its counts are then up to
    #: a second older than its time.
    repeated: bool = False

    def take(self, health: messages.Health, at_ns: int) -> None:
        """Take the next health. Count the rates from it if the one before can be a repetition."""
        if self.repeated:
            self.first, self.first_ns, self.repeated = health, at_ns, False
        self.last, self.last_ns = health, at_ns

    def is_stuck(self, now_ns: int) -> bool:
        """Return whether the stage has stopped publishing its health."""
        return now_ns - self.last_ns > STUCK_NS

    def rate_hz(self, topic: str) -> float | None:
        """Return how often the stage has received messages of a topic; None if that is unknown."""
        before, after = self.first.received.get(topic), self.last.received.get(topic)
        if before is None or after is None or self.first.pid != self.last.pid:
            return None
        seconds = (self.last_ns - self.first_ns) / 1e9
        return (after - before) / seconds if seconds > 0 else None


def report(
    stages: Mapping[str, Watched], pids: Mapping[str, int], now_ns: int
) -> tuple[list[str], bool]:
    """Return the lines to print, and whether every stage of a conversation is well.

    A stage is well if it says so, goes on saying so, and receives the topics that it reads.
    ``pids``: the processes that hold the locks of the stages on this machine.
    """
    lines: list[str] = []
    for name in registry.PROCESSES:
        watched = stages.get(name)
        pid = pids.get(name, 0)
        if watched is None or watched.is_stuck(now_ns):
            stuck = f"STUCK   pid {pid:<7} publishes no health: run 'bargein restart {name}'"
            lines.append(f"{name:<{NAME}} {stuck if pid else 'not running'}")
            continue
        health = watched.last
        mark = "ok" if health.ok else "NOT OK"
        lines.append(f"{name:<{NAME}} {mark:<7} pid {health.pid:<7} {printable(health.state)}")
        counters = " ".join(f"{k}={v}" for k, v in sorted(health.counters.items()) if v)
        if counters:
            lines.append(f"{'':<{NAME}} {printable(counters)}")
        lines += [
            f"{'':<{NAME}} reads {topic.name:<16} {arrival(watched, topic)}"
            for topic in registry.read_by(name)
        ]
    well = all(
        name in stages and is_well(stages[name].last) and not stages[name].is_stuck(now_ns)
        for name in registry.STAGES
    )
    return lines, well


def is_well(health: messages.Health) -> bool:
    """Return whether a stage says that it is well, and receives the topics that it reads."""
    return health.ok and not health.silent


def arrival(watched: Watched, topic: registry.Topic) -> str:
    """Return whether, and how often, a stage receives the messages of a topic."""
    health = watched.last
    received = health.received.get(topic.name)
    if received is None:
        return "not reported by the stage"
    count = f"{received} message{'' if received == 1 else 's'}"
    if topic.name in health.silent:
        return f"SILENT: no message comes ({count} since the stage started)"
    rate_hz = watched.rate_hz(topic.name)
    if not topic.rate_hz or rate_hz is None:
        return count
    nominal = f", nominal {topic.rate_hz:g} Hz" if topic.name in health.off_rate else ""
    return f"{rate_hz:.1f} Hz{nominal}"
