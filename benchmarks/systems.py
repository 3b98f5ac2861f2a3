"""The systems that are compared: each plays a tone and states when it got the event."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.prompter import SILENCE_S, Prompter
from harness.listening import Interruption
from harness.processes import end_process, spawn
from harness.pulse import SoundServer
from harness.soundbench import ROOT, Pipeline, PipelineError
from shared import door, messages, registry

#: How long a system may take for any step, s.
PATIENCE_S = 20.0


#: The name of a function that spins, among the stages that do.
FUNCTION = "function"


@dataclass(frozen=True)
class Conditions:
    """The conditions of a run."""

    tone_s: float = 10.0
    pace: float = 4.0
    late_ms: int = 0  # deltas that come after a cancel
    stall: str = ""  # the emulator's AFTER:FOR
    stopped: tuple[str, ...] = ()  # stages of Bargein that get SIGSTOP
    spinning: tuple[str, ...] = ()  # stages of Bargein that hang in a loop
    stuck_watcher: bool = False  # somebody watches, and reads nothing
    record: str = ""  # the directory to which the recorder writes the sound and the bus
    peer_python: str = sys.executable  # the Python that has the peers

    @property
    def emulator(self) -> list[str]:
        """The emulator's options."""
        # No skew: the server would refuse a truncate beyond its end, which ends some peers.
        options = ["--reply", f"tone:{self.tone_s:g}", "--pace", f"{self.pace:g}", "--skew", "0"]
        options += ["--late", str(self.late_ms)] if self.late_ms else []
        options += ["--stall", self.stall] if self.stall else []
        return options


class System(ABC):
    """A running system. A reply begins by itself, and after each ``go_on``."""

    def __init__(self, sound: SoundServer, conditions: Conditions) -> None:
        self.sound = sound
        self.conditions = conditions
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def interrupt(self) -> int:
        """Interrupt; return when the system got the event, in ns of the monotonic clock."""

    @abstractmethod
    def go_on(self) -> None:
        """Let the next reply begin."""

    def add_hops(self, found: Interruption) -> None:  # noqa: B027 - most systems know no hops
        """Add the known hops of an interruption."""

    def settle(self) -> None:  # noqa: B027 - most systems hold nothing back
        """Do the work that was held back, at the end of the run."""

    def journal(self) -> list[dict[str, Any]]:
        """Return the server's journal in order."""
        return []


class Device(System):
    """The device alone: see device_limit."""

    def _start(self) -> None:
        module = [sys.executable, "-m", "benchmarks.device_limit", str(self.conditions.tone_s)]
        self._peer = Peer(module, self.sound, self._stack)
        self._peer.say("play")

    def interrupt(self) -> int:
        """Cut the tone."""
        self._peer.say("cut")
        return self._peer.event()

    def go_on(self) -> None:
        """Play the tone from its beginning."""
        self._peer.say("play")


class Client(System):
    """A system that talks to the emulator through the prompter."""

    def _start(self) -> None:
        server = Pipeline(stages=(), emulator=self.conditions.emulator)
        self._server = self._stack.enter_context(server)
        self._prompter = self._stack.enter_context(Prompter(server.url))
        self._connect(self._prompter.url)

    @abstractmethod
    def _connect(self, url: str) -> None: ...

    @abstractmethod
    def _told(self) -> int: ...

    def interrupt(self) -> int:
        """Let the server hear somebody."""
        self._prompter.speak()
        return self._told()

    def go_on(self) -> None:
        """Let the server hear the end of the turn."""
        self._prompter.hush()

    def journal(self) -> list[dict[str, Any]]:
        """Return the server's journal in order."""
        kinds = ("truncate", "delete", "interruption")
        entries = [entry for kind in kinds for entry in self._server.journal(kind)]
        return sorted(entries, key=lambda entry: float(entry["t_s"]))


class OneProcess(Client):
    """The usual voice client."""

    def _connect(self, url: str) -> None:
        command = [*self._command(), url, str(round(SILENCE_S * 1000))]
        self._peer = Peer(command, self.sound, self._stack)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.one_process"]

    def _told(self) -> int:
        return self._peer.event()


class Pipecat(OneProcess):
    """Pipecat's local transport, with its own service for the Realtime API."""

    @staticmethod
    def unavailable(python: str) -> str | None:
        """Return why this system cannot be run, or None."""
        command = [python, "-c", "import pipecat.transports.local.audio"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"{python}: {error.strerror}"
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it does not load"])[-1]
            return (
                f"not installed for {python} ({why}): install 'pipecat-ai[openai,local]', here or"
                " in an environment of its own, which --peer-python names"
            )
        return None

    def _command(self) -> list[str]:
        return [self.conditions.peer_python, "-m", "benchmarks.pipecat_peer"]


#: Asks monitor for everything that a page can show and play.
WATCH = b"""\
GET /events?levels=1&voices=1 HTTP/1.1\r
Host: door\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
\r
"""


class Bargein(Client):
    """The pipeline."""

    def _connect(self, url: str) -> None:
        conditions = self.conditions
        spinning = [stage for stage in conditions.spinning if stage != FUNCTION]
        beside = [s for s in (*conditions.stopped, *spinning) if s not in registry.STAGES]
        functions = []
        if FUNCTION in conditions.spinning:
            beside.append("tools")
            functions = ["benchmarks.spinning_function"]
        beside += ["monitor"] if conditions.stuck_watcher else []
        beside += ["recorder"] if conditions.record else []
        silence_ms = round(SILENCE_S * 1000)
        recordings = self.sound.directory
        if conditions.record:
            # A disk that got full has room again for the next round.
            made = TemporaryDirectory(dir=conditions.record)
            recordings = Path(self._stack.enter_context(made))
        run = Pipeline(
            env=self.sound.env,
            settings={
                "session.greeting": "Begin.",
                "session.turn_detection.silence_duration_ms": silence_ms,
                "recorder.directory": recordings,
                "recorder.bus": "true" if conditions.record else "false",
                "monitor.port": 0,
                "tools.modules": json.dumps(functions),
            },
            server=url,
            stages=[*registry.STAGES, *dict.fromkeys(beside)],
            modules={stage: ("benchmarks.spinning", stage) for stage in spinning},
        )
        self._run = self._stack.enter_context(run)
        if conditions.stuck_watcher:
            watcher = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            watcher.connect(str(run.bus_directory / door.SOCKET))
            watcher.sendall(WATCH)
        for stage in conditions.stopped:
            run.stop_stage(stage)
        self._flushes = 0

    def _told(self) -> int:
        flush = self._run.bus.wait_for(messages.Flush, after=self._flushes, timeout=PATIENCE_S)
        self._flushes = len(self._run.bus.all(messages.Flush))
        return flush.event_ns

    def settle(self) -> None:
        """Continue the stages that were stopped, so that they send the messages that they held."""
        for stage in self.conditions.stopped:
            self._run.continue_stage(stage)
        if "uplink" in self.conditions.stopped:
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline and self._untold():
                time.sleep(0.1)

    def _untold(self) -> bool:
        told = [e for e in self.journal() if e["kind"] != "interruption"]
        return len(told) < self._flushes

    def add_hops(self, found: Interruption) -> None:
        """Add the hops of the flush."""
        hops = [h for h in self._run.bus.all(messages.FlushReport) if h.event_ns == found.event_ns]
        for hop in hops[:1]:
            found.hops |= {
                "event → flush published": (hop.flush_ns - hop.event_ns) / 1e6,
                "→ received by playback": (hop.received_ns - hop.flush_ns) / 1e6,
                "→ first silent buffer": (hop.silent_ns - hop.received_ns) / 1e6,
            }
            if found.silence_ms is not None:
                silent_ms = (hop.silent_ns - hop.event_ns) / 1e6
                found.hops["→ silence at the speaker"] = found.silence_ms - silent_ms
            found.hops["the device's latency, it says"] = hop.latency_ns / 1e6


class Peer:
    """A process that reads and prints lines."""

    def __init__(self, command: Sequence[str], sound: SoundServer, stack: ExitStack) -> None:
        self._process = spawn(
            command,
            env={**sound.env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        stack.callback(self._end)
        self._wait_for("ready")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def say(self, line: str) -> None:
        """Write a line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def event(self) -> int:
        """Return the time of the next event that the process prints, ns."""
        return int(self._wait_for("event"))

    def _wait_for(self, word: str) -> str:
        while True:
            try:
                found, _, rest = self._lines.get(timeout=PATIENCE_S).partition(" ")
            except queue.Empty:
                raise PipelineError(f"{self._process.args!r} does not say {word!r}") from None
            if found == word:
                return rest

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.decode("utf-8", "replace").strip())

    def _end(self) -> None:
        end_process(self._process)
        self._thread.join()
