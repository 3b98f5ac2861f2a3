"""The facts of a recorded conversation, from its messages in their order. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared import messages
from shared.recording import Recorded
from shared.registry import Queue

#: A gap between two frames of a live topic that is longer than this is a slow part, ns.
GAP_NS = 100_000_000
#: How many slow parts are listed, the slowest ones.
LISTED = 12


@dataclass
class Stage:
    """The health of a stage over time."""

    #: The beats: time, ns, and whether the stage was well and got its topics.
    beats: list[tuple[int, bool]] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    #: The stage's words while it was not well.
    trouble: dict[str, int] = field(default_factory=dict)

    @property
    def grown(self) -> dict[str, int]:
        """The counters that grew, by how much."""
        return {
            name: value - self.first.get(name, 0)
            for name, value in self.last.items()
            if value > self.first.get(name, 0)
        }


@dataclass
class Slow:
    """Something that took long."""

    at_ns: int
    ms: float
    what: str


@dataclass
class Facts:
    """The facts that the report shows."""

    begun_ns: int = 0
    ended_ns: int = 0
    interruptions: list[messages.Interruption] = field(default_factory=list)
    #: The last text of each item with its time, in the order of the items.
    transcripts: dict[str, tuple[int, messages.Transcript]] = field(default_factory=dict)
    #: When the person spoke, as vad heard it: begin and end, ns.
    speech: list[tuple[int, int]] = field(default_factory=list)
    #: Times of flushes, of calls of functions, and of changes of link's state with their words, ns.
    flushes: list[int] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=lambda: defaultdict(Stage))
    #: How long a message took, ms, by the way that it took.
    ways_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slow: list[Slow] = field(default_factory=list)
    usage: messages.Usage | None = None

    _last_ns: dict[str, int] = field(default_factory=dict)
    _seqs: dict[str, tuple[int, int]] = field(default_factory=dict)
    _speaking_ns: int = 0

    def take(self, recorded: Recorded) -> None:
        """Take the next message."""
        message, at_ns = recorded.message, recorded.stamp.t
        self.begun_ns = self.begun_ns or at_ns
        self.ended_ns = max(self.ended_ns, at_ns)
        self._gaps(recorded)
        match message:
            case messages.Interruption():
                self.interruptions.append(message)
                self._hops(message)
            case messages.Transcript():
                first_ns, _ = self.transcripts.get(message.item_id, (at_ns, message))
                self.transcripts[message.item_id] = (first_ns, message)
            case messages.Speech():
                self._speech(message)
            case messages.Flush():
                self.flushes.append(at_ns)
            case messages.ToolCall():
                self.calls.append((at_ns, message.name))
            case messages.LinkState():
                words = f"{message.state}{f': {message.reason}' if message.reason else ''}"
                if not self.links or self.links[-1][1] != words:
                    self.links.append((at_ns, words))
            case messages.Health():
                self._health(recorded.topic.publisher, message, at_ns)
            case messages.MicClean():
                self._way("microphone to echo's output", at_ns, message.captured_ns)
            case messages.ServerEvent():
                self._way("server's event to the bus", at_ns, message.received_ns)
            case messages.Usage():
                self.usage = message

    def finish(self) -> None:
        """Take the last message's time as the end, and keep the slowest parts."""
        if self._speaking_ns:
            self.speech.append((self._speaking_ns, self.ended_ns))
        self.slow = sorted(self.slow, key=lambda each: -each.ms)[:LISTED]

    def _way(self, name: str, at_ns: int, from_ns: int) -> None:
        if from_ns:
            self.ways_ms[name].append((at_ns - from_ns) / 1e6)

    def _hops(self, cut: messages.Interruption) -> None:
        for name, ms in hops(cut).items():
            self.ways_ms[name].append(ms)
        if slowest := max(hops(cut).items(), key=lambda each: each[1], default=None):
            name, ms = slowest
            if name != TOTAL and ms > 50:
                self.slow.append(Slow(cut.silent_ns or cut.flush_ns, ms, f"interruption: {name}"))

    def _speech(self, speech: messages.Speech) -> None:
        if speech.speaking and not self._speaking_ns:
            self._speaking_ns = speech.at_ns
        elif not speech.speaking and self._speaking_ns:
            self.speech.append((self._speaking_ns, max(speech.at_ns, self._speaking_ns)))
            self._speaking_ns = 0

    def _health(self, name: str, health: messages.Health, at_ns: int) -> None:
        stage = self.stages[name]
        well = health.ok and not health.silent
        if not stage.beats:
            stage.first = dict(health.counters)
        stage.last = dict(health.counters)
        stage.beats.append((at_ns, well))
        if not well:
            silent = f"; silent: {' '.join(health.silent)}" if health.silent else ""
            words = f"{health.state}{silent}"
            stage.trouble[words] = stage.trouble.get(words, 0) + 1

    def _gaps(self, recorded: Recorded) -> None:
        """Note gaps in the frames, and messages that were lost."""
        topic, stamp = recorded.topic, recorded.stamp
        epoch, seq = self._seqs.get(topic.name, (stamp.epoch, stamp.seq - 1))
        self._seqs[topic.name] = (stamp.epoch, stamp.seq)
        if epoch == stamp.epoch and stamp.seq > seq + 1:
            count = stamp.seq - seq - 1
            self.slow.append(Slow(stamp.t, 0.0, f"{topic.name}: {count} messages are missing"))
        before = self._last_ns.get(topic.name, 0)
        self._last_ns[topic.name] = stamp.t
        if topic.queue is Queue.LIVE and before and stamp.t - before > GAP_NS:
            ms = (stamp.t - before) / 1e6
            self.slow.append(Slow(before, ms, f"{topic.name}: no frame came"))


#: The name of the whole way of an interruption.
TOTAL = "event to silence at the speaker"


def hops(cut: messages.Interruption) -> dict[str, float]:
    """Return how long each hop of an interruption took, ms. Hops without a time are left out."""
    marks = [
        ("event to flush", cut.event_ns, cut.flush_ns),
        ("flush to playback", cut.flush_ns, cut.received_ns),
        ("playback to silence", cut.received_ns, cut.silent_ns),
    ]
    found = {name: (end - begin) / 1e6 for name, begin, end in marks if begin and end}
    if cut.silent_ns and cut.latency_ns:
        found["the device"] = cut.latency_ns / 1e6
    if cut.silence_ms is not None:
        found[TOTAL] = cut.silence_ms
    return found


def summary(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 95th percentile and the largest value."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.95)], ordered[-1]
