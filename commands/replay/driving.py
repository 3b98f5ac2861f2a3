"""Runs stages on the messages of a recording: one message at a time, in the order of their times.

A stage gets a message and answers with the messages that it has published. Only then does the next
message go out. So the outcome does not depend on the speed, on the machine or on other processes.
"""

from __future__ import annotations

import heapq
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import msgspec

from commands.replay.speaker import Speaker
from shared import bus, codec, config, messages, registry
from shared.recording import Recorded
from shared.replayed import Begin, Output, Step
from shared.stage import HEARTBEAT_S

#: Stages that work on a device's own thread, or need the server: they cannot be replayed.
NOT_REPLAYED = {
    "capture": "it only reads the microphone",
    "link": "it only talks to the server",
    "recorder": "it publishes nothing",
}
#: How long a stage may take to start, or to handle one message, s.
PATIENCE_S = 60.0
#: The time between two healths of a stage, ns.
BEAT_NS = round(HEARTBEAT_S * 1e9)


class ReplayError(Exception):
    """Raised when a stage cannot be replayed."""


class Player:
    """A stage's process, and the messages that it has published."""

    def __init__(
        self,
        stage: str,
        directory: Path,
        begin: Begin,
        arguments: Sequence[str],
        log: int,
        speaker: Speaker | None = None,
    ) -> None:
        self.stage = stage
        self._speaker = speaker
        self.reads = frozenset(registry.stage(stage).reads)
        #: The messages that it has published, in order. A stage with a speaker: since the first
        #: call of its device.
        self.outputs: list[Recorded] = []
        self._pipe, theirs = Pipe()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(config.PREFIX)}
        environment["BARGEIN_BUS__DIRECTORY"] = str(directory)
        # Downlink adds up there what a day costs. A replay costs nothing.
        environment["XDG_STATE_HOME"] = str(directory)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                f"services.{stage}",
                "--replay",
                str(theirs.fileno()),
                *arguments,
            ],
            env={**environment, "PYTHONPATH": str(config.ROOT)},
            pass_fds=[theirs.fileno()],
            stderr=log,
        )
        theirs.close()
        self._pipe.send_bytes(msgspec.msgpack.encode(begin))

    def answer(self) -> list[Recorded]:
        """Return the messages that the stage has published since the last call.

        Raises ReplayError.
        """
        try:
            if not self._pipe.poll(PATIENCE_S):
                raise ReplayError(f"{self.stage} does not answer")
            outputs = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=list[Output])
        except (EOFError, OSError):
            raise ReplayError(f"{self.stage} ended: see its log (--log)") from None
        found = []
        for output in outputs:
            topic = registry.BY_NAME[output.topic]
            message, stamp = codec.decode(topic.type, output.header, output.payload)
            found.append(Recorded(topic, message, stamp))
        self.outputs += found
        return found

    def hand(self, message: Recorded, at_ns: int) -> list[Recorded]:
        """Hand the stage a message; return what it published. Raises ReplayError.

        A stage with a speaker gets the message before the call at which it was handled.
        """
        step = Step(at_ns, message.topic.name, *message.frames())
        if self._speaker is None:
            return self._step(step)
        self._speaker.put(step, message)
        return []

    @property
    def asked_ns(self) -> int | None:
        """When the speaker's device asks the stage for samples next, ns; None: not again."""
        return self._speaker.next_ns if self._speaker is not None else None

    def ask(self) -> list[Recorded]:
        """Let the device ask for samples; return what the stage published. Raises ReplayError."""
        steps = self._speaker.take() if self._speaker is not None else []
        return [each for step in steps for each in self._step(step)]

    def end(self, at_ns: int) -> None:
        """Hand the stage the messages that are left, and let it end. Raises ReplayError."""
        self.ask()
        self._step(Step(at_ns))

    def _step(self, step: Step) -> list[Recorded]:
        try:
            self._pipe.send_bytes(msgspec.msgpack.encode(step))
        except OSError:
            raise ReplayError(f"{self.stage} ended: see its log (--log)") from None
        return self.answer()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def seeds(stage: str, recorded: Iterable[Recorded]) -> dict[str, int]:
    """Return the last numbers before the recorded ones, by the name of their files.

    The epoch and the generations of the replayed stage are then those of the recorded one.
    """
    found: dict[str, int] = {}
    for each in recorded:
        if each.topic.publisher == stage:
            found.setdefault(stage, each.stamp.epoch - 1)
            generation = getattr(each.message, "generation", 0)
            if stage == "downlink" and generation and each.topic.name == "reply.state":
                found.setdefault("generation", generation - 1)
    return found


def started_ns(stage: str, recorded: Sequence[Recorded]) -> int:
    """Return when a stage started, ns, as far as its health tells: a beat before the first message.

    The beats of the replayed stage then come at the same times.
    """
    first = recorded[0].stamp.t
    beats = [r.stamp.t for r in recorded if r.topic.name == f"{stage}.health"]
    if not beats:
        return first
    # Each beat is late by the time that the stage needed to get to it: the earliest one is right.
    late = [(beat - beats[0] + BEAT_NS // 2) % BEAT_NS - BEAT_NS // 2 for beat in beats]
    beat = beats[0] + min(late)
    return beat - max(0, -(-(beat - first) // BEAT_NS)) * BEAT_NS


def replay(
    recorded: Sequence[Recorded],
    players: Mapping[str, Player],
    publishers: Mapping[str, bus.Publisher],
    wait: Callable[[int], None],
) -> None:
    """Hand the messages to the stages, in the order of their times.

    ``publishers`` show observers the messages of the stages that are not replayed. ``wait`` waits
    until the time of a message, ns.
    """
    queue: list[tuple[int, int, Recorded]] = []
    order = itertools.count()

    def take(found: Iterable[Recorded]) -> None:
        for each in found:
            heapq.heappush(queue, (each.stamp.t, next(order), each))

    for player in players.values():
        take(player.answer())
    # The replayed stages publish their own messages.
    others = (each for each in recorded if each.topic.publisher not in players)
    sources = iter(sorted(others, key=lambda each: each.stamp.t))
    upcoming = next(sources, None)
    last_ns = 0
    while upcoming is not None or queue:
        if upcoming is not None and (not queue or upcoming.stamp.t <= queue[0][0]):
            next_ns, is_recorded = upcoming.stamp.t, True
        else:
            next_ns, is_recorded = queue[0][0], False
        asked = [p for p in players.values() if p.asked_ns is not None and p.asked_ns < next_ns]
        if asked:
            take(asked[0].ask())
            continue
        last_ns = next_ns
        if is_recorded and upcoming is not None:
            each, upcoming = upcoming, next(sources, None)
            wait(last_ns)
            if (publisher := publishers.get(each.topic.publisher)) is not None:
                publisher.publish(each.message, each.topic)
                publisher.welcome()
        else:
            _, _, each = heapq.heappop(queue)
        for player in players.values():
            if each.topic.name in player.reads:
                take(player.hand(each, last_ns))
    for player in players.values():
        player.end(last_ns)


class Pace:
    """Waits so that a replay runs at a speed; 0: it does not wait."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begun_s = time.monotonic()
        self._first_ns = 0

    def wait(self, at_ns: int) -> None:
        """Wait until the time of a message."""
        self._first_ns = self._first_ns or at_ns
        if self._speed:
            due_s = self._begun_s + (at_ns - self._first_ns) / 1e9 / self._speed
            if (left_s := due_s - time.monotonic()) > 0:
                time.sleep(left_s)


def functions(recorded: Iterable[Recorded]) -> list[str]:
    """Return the options that tell uplink whether functions were configured.

    A recording does not state the functions: a person who replays it must not run another person's
    functions. But uplink asks for the first answer only when it has them.
    """
    offers = (each.message for each in recorded if isinstance(each.message, messages.ToolOffer))
    modules = '["recorded"]' if any(offer.names for offer in offers) else "[]"
    return ["--set", f"tools.modules={modules}", "--set", "tools.mcp_file="]


def arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the options that give a stage the settings of a recording."""
    options = []
    for key, value in settings.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        options += ["--set", f"{key}={text}"]
    return options
