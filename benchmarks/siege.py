"""Measures memory, processor time and a barge-in while Bargein is attacked.

    python -m benchmarks.siege                    # every attack
    python -m benchmarks.siege --only pings       # one of them

Each attack is made on a conversation of its own, with the emulator and on file devices. A proxy
makes the server flood; other processes attack the bus. Everything is on loopback, seeded, and ends
by itself.

    barge-in  from the moment at which the proxy sends ``speech_started`` to the first silent buffer
              at the speaker, ms: the median and the longest of those that came during the attack
    memory    the stage that grew most: MB before the attack and at its end
    CPU       all stages during the attack, % of a core
    outcome   what link says if it closed the connection, and the bounds that stages counted
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import soundfile
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from benchmarks.attacks import ATTACKS, Attack, Flood
from benchmarks.prompter import Prompter
from harness.soundbench import Pipeline, PipelineError
from shared import messages, registry
from shared.printable import printable

SEED = 15
#: How long an attack lasts by default, s.
SECONDS = 20.0
#: How long stages are stopped, and how long they run in between, s.
STOPPED_S, RUNS_S = 5.0, 3.0
#: How long a reply is played before it is interrupted, and how long to wait for the silence, s.
PLAYED_S, PATIENCE_S = 1.0, 10.0
#: The counters of a health that say that a bound was reached.
BOUNDS = ("peers_cut", "responses_dropped", "bad_events", "lost_messages", "oversized", "refused")


class Hostile(Prompter):
    """The proxy, which can also flood the client."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        #: When ``speech_started`` was sent to the client, CLOCK_MONOTONIC ns.
        self.spoke_ns: list[int] = []
        #: How long each connection was flooded until the client closed it, s.
        self.closed_s: list[float] = []
        self._client: ServerConnection | None = None

    async def _serve(self, client: ServerConnection) -> None:
        self._client = client
        await super()._serve(client)

    def __exit__(self, *_: object) -> None:
        # A connection that was flooded may take long to close.
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(2)

    def forwards(self, message: str | bytes) -> None:
        """Note when ``speech_started`` is sent."""
        if isinstance(message, str) and '"input_audio_buffer.speech_started"' in message[:200]:
            self.spoke_ns.append(time.monotonic_ns())

    def flood(self, flood: Flood, until: float) -> None:
        """Send one part of a flood after the other, on whatever connection is open."""

        async def run() -> None:
            chance = random.Random(SEED)
            flooded, began = None, 0.0
            while time.monotonic() < until:
                try:
                    if self._client is not None:
                        if self._client is not flooded:
                            flooded, began = self._client, time.monotonic()
                        await flood(self._client, chance)
                except ConnectionClosed:
                    self.closed_s.append(time.monotonic() - began)
                    self._client = None
                await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(run(), self._loop)


@dataclass
class Found:
    """The figures that were measured."""

    barge_ms: list[float] = field(default_factory=list)
    missed: int = 0
    before_mb: float = 0.0
    after_mb: float = 0.0
    grown: str = ""
    cpu: float = 0.0
    outcome: list[str] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return a row of the table."""
        barge = "none"
        if self.barge_ms:
            barge = f"{statistics.median(self.barge_ms):.0f} / {max(self.barge_ms):.0f}"
        if self.missed:
            barge += f", {self.missed} not within {PATIENCE_S:g} s"
        memory = f"{self.grown} {self.before_mb:.0f} → {self.after_mb:.0f}"
        return f"| {name} | {barge} | {memory} | {self.cpu:.0f} | {'; '.join(self.outcome)} |"


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(attack: Attack, seconds: float, directory: Path) -> Found:
    """Hold a conversation, attack it, and interrupt it meanwhile."""
    found = Found()
    port = free_port()
    settings: dict[str, object] = {
        "capture.device": f"file:{directory / 'silence.wav'}",
        "playback.device": f"file:{directory / 'speaker.wav'}",
        "session.greeting": "Begin.",
        "session.turn_detection.silence_duration_ms": 6000,
    }
    if attack.listens:
        settings["bus.machines"] = [f"tcp://127.0.0.1:{port} link"]
    if attack.page:
        settings |= {"monitor.listen": "127.0.0.1", "monitor.port": port}
    names = (*registry.STAGES, "monitor") if attack.page else registry.STAGES
    with ExitStack() as stack:
        server = stack.enter_context(
            Pipeline(stages=(), emulator=["--reply", "tone:60", "--pace", "4"])
        )
        proxy = stack.enter_context(Hostile(server.url))
        run = stack.enter_context(Pipeline(server=proxy.url, settings=settings, stages=names))
        stages = {name: psutil.Process(run.pid(name)) for name in names}
        run.bus.wait_for(messages.Heard, lambda heard: heard.playing)
        before = {name: one.memory_info().rss / 1e6 for name, one in stages.items()}
        used = sum(sum(one.cpu_times()[:2]) for one in stages.values())
        began = time.monotonic()
        until = began + seconds
        if attack.flood is not None:
            proxy.flood(attack.flood, until)
        for line in attack.programs(run.bus_directory, port) if attack.programs else []:
            child = subprocess.Popen(line)
            stack.callback(child.wait)
            stack.callback(child.kill)
        stack.enter_context(stopping([stages[name] for name in attack.stopped]))
        while time.monotonic() < until:
            interrupt(run, proxy, found)
        lasted = time.monotonic() - began
        found.cpu = 100 * (sum(sum(o.cpu_times()[:2]) for o in stages.values()) - used) / lasted
        after = {name: one.memory_info().rss / 1e6 for name, one in stages.items()}
        found.grown = max(stages, key=lambda name: after[name] - before[name])
        found.before_mb, found.after_mb = before[found.grown], after[found.grown]
        found.outcome = outcome(run, proxy.closed_s)
    return found


@contextmanager
def stopping(frozen: list[psutil.Process]) -> Iterator[None]:
    """Stop processes for STOPPED_S and let them run for RUNS_S, in turn, until the block ends."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for one in frozen:
                one.suspend()
            over.wait(STOPPED_S)
            for one in frozen:
                one.resume()
            over.wait(RUNS_S)

    thread = threading.Thread(target=run, name="stopping")
    if frozen:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if frozen:
            thread.join()


def interrupt(run: Pipeline, proxy: Hostile, found: Found) -> None:
    """Let the person speak a while after a reply has begun, and note when the speaker is silent."""
    time.sleep(PLAYED_S)
    reports, spoken = len(run.bus.all(messages.FlushReport)), len(proxy.spoke_ns)
    try:
        proxy.speak()
        report = run.bus.wait_for(
            messages.FlushReport,
            lambda report: report.cause == "speech_started",
            after=reports,
            timeout=PATIENCE_S,
        )
        if len(proxy.spoke_ns) > spoken:
            found.barge_ms.append((report.silent_ns - proxy.spoke_ns[spoken]) / 1e6)
        proxy.hush()
    except (PipelineError, ConnectionClosed, AssertionError, TimeoutError):
        found.missed += 1


def outcome(run: Pipeline, closed_s: list[float]) -> list[str]:
    """Return why link closed connections, and which bounds were reached, by stage.

    ``closed_s``: how long each connection was flooded until link closed it, s.
    """
    states = run.bus.all(messages.LinkState)
    reasons = [
        printable(f"{state.cause}: {state.reason}")
        for before, state in pairwise(states)
        # A state is repeated every second.
        if state.state == "waiting" and state != before
    ]
    lines = [f"closed {len(reasons)} times ({reasons[0]})"] if reasons else []
    if expired := max((state.expired for state in states), default=0):
        lines.append(f"link dropped {expired} old frames of the microphone")
    if closed_s:
        lines.append(f"after {statistics.median(closed_s):.2f} s, at most {max(closed_s):.2f} s")
    for name in registry.STAGES:
        counted = run.bus.all(messages.Health, f"{name}.health")[-1].counters
        lines += [f"{name} {bound}={counted[bound]}" for bound in BOUNDS if counted.get(bound)]
    return lines or ["nothing was lost"]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.siege",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=list(ATTACKS), metavar="ATTACK")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each attack")
    arguments = parser.parse_args()
    print(
        "| attack | barge-in, ms | memory, MB | CPU, % | outcome |\n| --- | --- | --- | --- | --- |"
    )
    for name in arguments.only or ATTACKS:
        with tempfile.TemporaryDirectory(prefix="bargein-siege-", dir="/tmp") as place:
            silence = np.zeros(24000 * 300, np.int16)
            soundfile.write(Path(place) / "silence.wav", silence, 24000)
            print(measure(ATTACKS[name], arguments.seconds, Path(place)).row(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
