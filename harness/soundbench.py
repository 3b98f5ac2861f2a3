"""The real processes of a conversation with an emulator, on a sound server or on files.

The processes start all at once, as under honcho. A listener observes their bus.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from harness.observer import deliveries
from harness.processes import end_process, spawn
from shared import messages, registry
from shared.directory import prepare_directory
from shared.network import LOCAL, Network, parse

ROOT = Path(__file__).parents[1]
READY_S = 20.0
"""Seconds until processes have to be ready, on a busy machine."""

M = TypeVar("M", bound=messages.Message)


class PipelineError(Exception):
    """Raised when a process ends, or does not do its part in time."""


class Listener:
    """Reads topics of a bus on its own thread, and keeps the messages."""

    def __init__(
        self, directory: Path, wanted: Sequence[registry.Topic], network: Network = LOCAL
    ) -> None:
        self._directory = directory
        self._network = network
        self._wanted = list(wanted)
        self._messages: dict[str, list[messages.Message]] = {row.name: [] for row in wanted}
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def all(self, kind: type[M], topic: str = "") -> list[M]:
        """Return every message of a type so far (of one topic, for a Health)."""
        with self._changed:
            return list(self._messages[topic or registry.of(kind).name])  # type: ignore[arg-type]

    def wait_for(
        self,
        kind: type[M],
        condition: Callable[[M], bool] = lambda _: True,
        *,
        topic: str = "",
        after: int = 0,
        timeout: float = READY_S,
    ) -> M:
        """Wait for the first message, after the ``after`` first ones, that fulfils a condition."""
        name = topic or registry.of(kind).name
        deadline = time.monotonic() + timeout
        seen = after
        with self._changed:
            while True:
                messages = self._messages[name]
                for message in messages[seen:]:
                    if condition(message):  # type: ignore[arg-type]
                        return message  # type: ignore[return-value]
                seen = max(seen, len(messages))
                left = deadline - time.monotonic()
                if left <= 0:
                    last = messages[-1] if messages else "nothing"
                    raise PipelineError(f"{name}: not within {timeout:g} s; the last is {last}")
                self._changed.wait(left)

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join()

    def _listen(self) -> None:
        for found in deliveries(self._wanted, self._directory, self._ending, self._network):
            with self._changed:
                for delivery in found:
                    self._messages[delivery.topic.name].append(delivery.message)
                self._changed.notify_all()


class Pipeline:
    """The stages, the emulator, and a listener on their bus.

    ``env`` is the sound server's environment, or empty. ``settings`` are configuration keys, such
    as ``{"session.greeting": "Say hello."}``. ``emulator`` are the options of the emulator.
    """

    #: How a process is started. The tests replace this by a function that starts our stages faster.
    spawn: Callable[..., subprocess.Popen[bytes]] = staticmethod(spawn)

    #: The topics to listen to, besides every stage's health.
    kinds: Sequence[type[messages.Message]] = (
        *(
            messages.LinkState,
            messages.Flush,
            messages.FlushReport,
            messages.Interruption,
            messages.ReplyState,
            messages.Heard,
        ),
    )

    def __init__(
        self,
        *,
        env: Mapping[str, str] = {},
        settings: Mapping[str, object] = {},
        emulator: Sequence[str] = (),
        stages: Sequence[str] = registry.STAGES,
        server: str = "",
        modules: Mapping[str, Sequence[str]] = {},
    ) -> None:
        """Prepare the directory and the settings.

        ``server`` is a URL to use instead of the emulator. ``modules`` are the modules, with
        arguments, that run instead of some stages.
        """
        # In /tmp even if TMPDIR is another directory, because a socket's path must be short.
        self.directory = Path(tempfile.mkdtemp(prefix="bargein-run-", dir="/tmp"))
        self.bus_directory = prepare_directory(self.directory / "bus")
        self.journal_file = self.directory / "journal"
        self.env = self._environment(env, settings)
        self._network = Network(parse(cast("list[str]", settings.get("bus.machines", []))))
        self.stages = list(stages)
        self.url = server
        self._modules = dict(modules)
        self._emulator = list(emulator)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._runs = itertools.count(1)
        self._logs: dict[str, Path] = {}
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bus(self) -> Listener:
        """The listener on the bus."""
        assert self._listener is not None
        return self._listener

    def start(self) -> None:
        """Start everything; return when the server is connected and the devices are open."""
        rows = [registry.health(stage) for stage in self.stages]
        rows += [registry.of(kind) for kind in self.kinds]
        self._listener = Listener(self.bus_directory, rows, self._network)
        if not self.url:
            self.start_emulator()
        self.env["BARGEIN_LINK__URL"] = self.url
        for stage in self.stages:
            self.start_stage(stage)
        self.wait_until_ready()

    def start_emulator(self) -> None:
        """Start the emulator, for the stages to connect to."""
        url = "ws://127.0.0.1:0/v1/realtime"
        arguments = ["--url", url, "--journal", str(self.journal_file), *self._emulator]
        self._start("emulator", arguments)
        self.url = self._in_log("emulator", re.compile(r"listens at (\S+),"))[1]

    def start_stage(self, name: str) -> None:
        """Start one of the stages."""
        self._start(name, [])

    def wait_until_ready(self) -> None:
        """Wait until every stage is healthy and the link is open."""
        try:
            for stage in self.stages:
                self.bus.wait_for(
                    messages.Health, lambda health: health.ok, topic=f"{stage}.health"
                )
            if "link" in self.stages:
                self.bus.wait_for(messages.LinkState, lambda link: link.state == "open")
        except PipelineError as error:
            logs = "\n".join(f"{name}:\n{self.log(name)}" for name in self._processes)
            raise PipelineError(f"{error}\n{logs}") from None

    def pid(self, name: str) -> int:
        """Return a process's id."""
        return self._processes[name].pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a process a signal."""
        self._processes[name].send_signal(number)

    def kill_stage(self, name: str) -> None:
        """Kill a stage (SIGKILL), and return when it is gone."""
        self.signal(name, signal.SIGKILL)
        self._processes[name].wait()

    def runs(self, name: str) -> bool:
        """Return whether a process runs."""
        return self._processes[name].poll() is None

    def stop_stage(self, name: str) -> None:
        """Stop a stage (SIGSTOP)."""
        self.signal(name, signal.SIGSTOP)

    def continue_stage(self, name: str) -> None:
        """Continue a stopped stage (SIGCONT)."""
        self.signal(name, signal.SIGCONT)

    def log(self, name: str) -> str:
        """Return the output of a process."""
        return self._logs[name].read_text(encoding="utf-8", errors="replace")

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of a kind in the emulator's journal."""
        if not self.journal_file.exists():
            return []
        text = self.journal_file.read_text(encoding="utf-8")
        # The last line may be incomplete.
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    def wait_for_journal(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for this many entries of a kind in the emulator's journal; return them."""
        deadline = time.monotonic() + READY_S
        while len(entries := self.journal(kind)) < count:
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the journal has {len(entries)} of {count} entries of kind {kind}"
                )
            time.sleep(0.02)  # No event says that a file has grown.
        return entries

    def close(self) -> None:
        """End all processes and remove their files."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes.values():
            end_process(process)
        self._processes.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _environment(
        self, env: Mapping[str, str], settings: Mapping[str, object]
    ) -> dict[str, str]:
        """Return the stages' environment, without a key and with only these settings."""
        foreign = ("BARGEIN_", "OPENAI_")
        base = env or os.environ
        made = {name: value for name, value in base.items() if not name.startswith(foreign)}
        made["PYTHONPATH"] = str(ROOT)
        asked = {
            "bus.directory": self.bus_directory,
            "link.retry_first_ms": 50,
            "link.retry_max_ms": 200,
            **settings,
        }
        for name, value in asked.items():
            made[f"BARGEIN_{name.upper().replace('.', '__')}"] = str(value)
        return made

    def _start(self, name: str, arguments: Sequence[str]) -> None:
        path = self.directory / f"{name}-{next(self._runs)}.log"
        module = self._modules.get(name, (f"services.{name}",))
        with path.open("wb") as log:
            self._processes[name] = self.spawn(
                [sys.executable, "-u", "-m", *module, *arguments],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        self._logs[name] = path

    def _in_log(self, name: str, pattern: re.Pattern[str]) -> re.Match[str]:
        deadline = time.monotonic() + READY_S
        while (found := pattern.search(self.log(name))) is None:
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                raise PipelineError(f"{name} does not get ready:\n{self.log(name)}")
            time.sleep(0.01)  # No event says that a file has grown.
        return found
