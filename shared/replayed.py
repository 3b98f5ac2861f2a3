"""A stage that is replayed: its messages and its clocks come from a recording.

``bargein replay`` starts the stage with a pipe. For each message that the stage reads, the pipe
tells the time at which it was published. The stage sets its clocks to that time, calls the timers
that are due by then, handles the message, and answers with the messages that it has published. So
the stage does the same at every speed. The stage publishes on its own bus as well, for observers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from shared import bus, codec, config, messages, now, registry
from shared.audio import pcm
from shared.audio.device import Render
from shared.stage import Stage


class Begin(msgspec.Struct, array_like=True):
    """The first message to a stage."""

    #: CLOCK_MONOTONIC when the stage starts, ns.
    at_ns: int
    #: This is added to CLOCK_MONOTONIC for the time since 1970, ns.
    since_1970_ns: int


class Step(msgspec.Struct, array_like=True):
    """A message for a stage, a call of its device, or, without either, the recording's end."""

    at_ns: int
    topic: str = ""
    header: bytes = b""
    payload: bytes = b""
    #: How many samples the speaker's device asks for; 0: this step is no call of the device.
    samples: int = 0
    #: When the first of them is at the converter, ns.
    dac_ns: int = 0
    #: Only timers that are due by then ring before this step, ns; 0: by the time of the step.
    timers_ns: int = 0


class Output(msgspec.Struct, array_like=True):
    """A message that a stage has published."""

    at_ns: int
    topic: str
    header: bytes
    payload: bytes


class ReplayedSpeaker:
    """A speaker that asks for samples when the recorded one did."""

    description, rate, latency_ns, underflows = "the recorded speaker", pcm.RATE, 0, 0

    def __init__(self) -> None:
        self._render: Render | None = None

    def start(self, render: Render) -> None:
        """Keep the function that returns samples."""
        self._render = render

    def ask(self, samples: int, dac_ns: int) -> None:
        """Ask for samples."""
        if self._render is not None:
            self._render(samples, dac_ns)

    def stop(self) -> None:
        """Ask for no more samples."""
        self._render = None

    def failure(self) -> str | None:
        """Return None: this device does not fail."""
        return None

    def warning(self) -> str | None:
        """Return None."""
        return None


class ReplayedStage(Stage):
    """The loop of a stage that is replayed."""

    def __init__(
        self,
        name: str,
        settings: config.Config,
        log: logging.Logger,
        home: Path,
        descriptor: int,
    ) -> None:
        self._pipe = Connection(descriptor)
        begin = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=Begin)
        self._at_ns, self._since_1970_ns = begin.at_ns, begin.since_1970_ns
        # The numbers go on from those in the bus directory, as they did when this was recorded.
        now.set_clocks(lambda: self._at_ns, lambda: 0)
        self._outputs: list[Output] = []
        self._counts: dict[str, int] = {}
        self._last: dict[str, messages.Stamp] = {}
        super().__init__(name, settings, log, home)
        self._published = frozenset(topic.name for topic in registry.published_by(name))
        self._speaker = self.replayed_speaker = ReplayedSpeaker()

    def publish(self, message: messages.Message) -> int:
        """Publish a message and return its time stamp, ns."""
        at_ns = super().publish(message)
        topic = registry.of(type(message)).name
        seq = self._counts.get(topic, 0)
        self._counts[topic] = seq + 1
        header, payload = codec.encode(message, messages.Stamp(seq=seq, epoch=1, t=at_ns))
        self._outputs.append(Output(at_ns, topic, header, payload))
        return at_ns

    def _connect(self, rows: Iterable[registry.Topic]) -> bus.Subscriber:
        del rows  # The messages come through the pipe.
        now.set_clocks(lambda: self._at_ns, lambda: self._at_ns + self._since_1970_ns)
        self._answer()  # with the messages that the stage published while it started
        return bus.Subscriber((), self.directory, self.network)

    def _round(self) -> None:
        try:
            step = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=Step)
        except EOFError:
            self.stop()
            return
        # The replay needs everything that the stage can publish, even if nobody subscribes.
        self.publisher.subscribed = self._published
        self._run_timers_until(step.timers_ns or step.at_ns)
        self._at_ns = max(self._at_ns, step.at_ns)
        if step.topic:
            self._dispatch.deliver(self._delivery(step))
        elif step.samples:
            self._speaker.ask(step.samples, step.dac_ns)
            self._woken()
        else:
            self.stop()
        self.publisher.welcome()
        self._answer()

    def _run_timers_until(self, at_ns: int) -> None:
        """Let the time pass: call each timer's handler at its own time."""
        while self._timers.next_s * 1e9 <= at_ns and not self._stopping:
            due_s = self._timers.next_s
            self._at_ns = max(self._at_ns, round(due_s * 1e9))
            self._run_timers(due_s)
        self._at_ns = max(self._at_ns, at_ns)

    def _delivery(self, step: Step) -> bus.Delivery[Any]:
        topic = registry.BY_NAME[step.topic]
        message, stamp = codec.decode(topic.type, step.header, step.payload)
        before = self._last.get(step.topic)
        self._last[step.topic] = stamp
        restarted = before is not None and before.epoch != stamp.epoch
        lost = 0 if before is None or restarted else max(0, stamp.seq - before.seq - 1)
        return bus.Delivery(topic, message, stamp, restarted, lost)

    def _answer(self) -> None:
        outputs, self._outputs = self._outputs, []
        self._pipe.send_bytes(msgspec.msgpack.encode(outputs))
