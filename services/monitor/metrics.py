"""The figures of a conversation for Prometheus."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import psutil
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.monitor import records
from shared import messages
from shared.messages import Spent

#: The limits of the histogram's steps, s: a good device is silent within 15 ms.
STEPS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
#: The kinds of tokens, as the fields of Spent name them.
TOKENS = tuple(n for n in Spent.__struct_fields__ if n.startswith(("input_", "output_", "cached_")))
#: Why a session followed another one although no connection was lost: link's causes.
PLANNED = ("renewed", "idle", "limit", "asked")


class Metrics:
    """Counts events as they come, and reads states when the figures are asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._silence = Histogram(
            "bargein_silence_seconds",
            "Time from an interruption's cause to the first silence at the speaker",
            buckets=STEPS,
            registry=self._registry,
        )
        self._interruptions: Counter[str] = Counter()
        self._heard_ms = self._received_ms = 0
        self._connections = self._reconnects = 0
        self._session = 0
        self._open = False
        self._round_trip_us = 0
        self._usage: messages.Usage | None = None
        self._healths: dict[str, messages.Health] = {}
        self._registry.register(self)

    def interruption(self, record: messages.Interruption) -> None:
        """Count an interruption."""
        self._interruptions[record.cause] += 1
        self._heard_ms += sum(report.heard_ms for report in record.reports)
        self._received_ms += sum(report.received_ms for report in record.reports)
        if record.silence_ms is not None:
            self._silence.observe(max(0.0, record.silence_ms) / 1e3)

    def link(self, state: messages.LinkState) -> None:
        """Count the sessions."""
        self._open = state.state == "open"
        self._round_trip_us = state.round_trip_us
        if state.session > self._session:
            self._connections += 1
            self._reconnects += bool(self._session) and state.cause not in PLANNED
            self._session = state.session

    def usage(self, usage: messages.Usage) -> None:
        """Take what the conversation has used."""
        self._usage = usage

    def health(self, stage: str, newest: messages.Health) -> None:
        """Take a stage's counters."""
        self._healths[stage] = newest

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures that are read when they are asked for: prometheus_client calls this."""
        interruptions = CounterMetricFamily(
            "bargein_interruptions", "Interruptions by their cause", labels=["cause"]
        )
        for cause, count in self._interruptions.items():
            interruptions.add_metric([cause], count)
        yield interruptions
        yield CounterMetricFamily(
            "bargein_interrupted_heard_seconds",
            "Speech of interrupted replies that was heard",
            value=self._heard_ms / 1000,
        )
        yield CounterMetricFamily(
            "bargein_interrupted_sent_seconds",
            "Speech of interrupted replies that the server had sent",
            value=self._received_ms / 1000,
        )
        yield CounterMetricFamily(
            "bargein_sessions", "Sessions that link opened", value=self._connections
        )
        yield CounterMetricFamily(
            "bargein_reconnects",
            "Sessions that link opened after it had lost a connection",
            value=self._reconnects,
        )
        yield GaugeMetricFamily(
            "bargein_connected", "1 while a session is open", value=int(self._open)
        )
        if self._round_trip_us:
            yield GaugeMetricFamily(
                "bargein_round_trip_seconds",
                "Time from the last ping to the server's answer",
                value=self._round_trip_us / 1e6,
            )
        if self._usage is not None:
            yield from self._spent(self._usage)
        yield from self._stages()

    def _spent(self, usage: messages.Usage) -> Iterator[Metric]:
        tokens = CounterMetricFamily(
            "bargein_tokens", "Tokens; the cached ones are a part of the input", labels=["kind"]
        )
        for kind in TOKENS:
            tokens.add_metric([kind], getattr(usage.conversation, kind))
        yield tokens

    def _stages(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("bargein_stage_up", "1 if the stage is well", labels=["stage"])
        counts = CounterMetricFamily(
            "bargein_stage_events", "The counters of a stage's health", labels=["stage", "event"]
        )
        gaps = CounterMetricFamily(
            "bargein_stage_gaps", "Places where sound or messages are missing", labels=["stage"]
        )
        drops = CounterMetricFamily(
            "bargein_stage_drops", "Messages that came and were not used", labels=["stage"]
        )
        cpu = CounterMetricFamily(
            "bargein_stage_cpu_seconds", "Processor time of a stage", labels=["stage"]
        )
        memory = GaugeMetricFamily(
            "bargein_stage_memory_bytes", "Resident memory of a stage", labels=["stage"]
        )
        for stage, newest in self._healths.items():
            for event, count in newest.counters.items():
                counts.add_metric([stage, event], count)
            gaps.add_metric([stage], records.gaps(newest))
            drops.add_metric([stage], records.drops(newest))
        processes = [(name, h.pid, h.ok and not h.silent) for name, h in self._healths.items()]
        for stage, pid, is_well in (*processes, ("monitor", os.getpid(), True)):
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                cpu.add_metric([stage], times.user + times.system)
                memory.add_metric([stage], process.memory_info().rss)
                runs = True
            except psutil.Error:
                runs = False  # it has ended, or runs on another machine
            up.add_metric([stage], int(runs and is_well))
        yield from (up, counts, gaps, drops, cpu, memory)
