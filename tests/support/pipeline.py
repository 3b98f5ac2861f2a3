"""Real processes on a bus of their own: how the tests of this ring start, watch and end them.

A ``Pipeline`` is a bus directory, the stages on it, and a ``Listener`` that keeps all that is said
there. A test waits for a line of a process, for a message on the bus, or for an exit.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar, cast

from shared import bus, messages, registry
from shared.network import LOCAL, Network
from tests.support import keeper

ROOT = Path(__file__).parents[2]
#: How long a test waits for what has to come about: its patience, not a claim.
PATIENCE_S = 20.0
#: A stage that is asked to end is gone within a second. The rest is the machine's: two busy cores.
GONE_S = 1.0
SLACK_S = 0.5

M = TypeVar("M", bound=messages.Message)


#: Topics that no reader can take away from another.
UNHELD = tuple(topic for topic in registry.TOPICS if topic.queue is not registry.Queue.LOSSLESS)


class Keeper:
    """A process that ends all the others when this one is gone; see ``keeper``."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._pipelines = itertools.count()
        self._process = subprocess.Popen(
            [sys.executable, "-S", keeper.__file__, self.token],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def next_token(self) -> str:
        """Give a token for a pipeline's processes, which begins with that of all."""
        return f"{self.token}.{next(self._pipelines)}."

    def tell(self, line: str) -> None:
        """Tell of a process group that began (+) or ended (-), or of a directory."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def close(self) -> None:
        """End it, and what is left to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Child:
    """One process, its output line by line, and its end."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], kept: Keeper, cwd: Path
    ) -> None:
        self.argv = list(argv)
        #: What it is called in a report: its module, or else its program.
        self.name = next((b for a, b in itertools.pairwise(argv) if a == "-m"), argv[0])
        #: What it may end with when it is asked to.
        self.codes = {0}
        self._keeper = kept
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        kept.tell(f"+{self.pid}")
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process, which leads a group of its own."""
        return self.process.pid

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def matching(self, pattern: str) -> list[str]:
        """Give the lines printed so far in which a pattern is found."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_line(self, pattern: str, count: int = 1) -> str:
        """Wait until a pattern is found in ``count`` lines, and give the last of these."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or len(self.matching(pattern)) >= count, PATIENCE_S
            )
            found = self.matching(pattern)
        assert len(found) >= count, f"{pattern!r} is not among:\n{self.output}"
        return found[count - 1]

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for its end and its last line; give its exit code, negative for a signal."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout:g} s: {' '.join(self.argv)}\n{self.output}"
            ) from None
        self._reader.join(timeout)
        self._keeper.tell(f"-{self.pid}")
        return code

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, and give the exit code."""
        self.send(number)
        return self.wait()

    def ask(self) -> None:
        """Ask it to end, if it has not."""
        if self.running:
            self.send(signal.SIGTERM)
            # one that a test has stopped could not answer
            self.send(signal.SIGCONT)

    def close(self) -> bool:
        """Wait for its end, and force it; say whether it ended because it was asked to."""
        asked = True
        try:
            self.process.wait(GONE_S + 2 * SLACK_S)
        except subprocess.TimeoutExpired:
            asked = False
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return asked


class Listener:
    """Keeps everything that is said on a bus, in the order in which it came.

    What must not be lost waits at its publisher for a reader. What is wanted from the start is read
    in the place of the stages that a test does not start. To do so beside them would take from
    them what waits for them: so a test that starts a whole conversation begins with ``UNHELD`` and
    calls ``join`` when its stages have found each other, and then it only looks on.
    """

    def __init__(
        self, directory: Path, wanted: Sequence[registry.Topic], network: Network = LOCAL
    ) -> None:
        self.heard: list[bus.Delivery[messages.Message]] = []
        self.subscribers: list[bus.Subscriber] = []
        self._directory = directory
        self._network = network
        self._wanted = [wanted]
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        # a socket belongs to the thread that made it
        poller = bus.Poller()
        while not self._ending.is_set():
            for wanted in self._wanted[len(self.subscribers) :]:
                subscriber = bus.Subscriber(
                    wanted, self._directory, self._network, observer=bool(self.subscribers)
                )
                for socket in subscriber.sockets:
                    poller.watch(socket)
                self.subscribers.append(subscriber)
            poller.wait(0.05)
            with self._changed:
                for subscriber in self.subscribers:
                    while (delivery := subscriber.receive()) is not None:
                        self.heard.append(delivery)
                self._changed.notify_all()
        for subscriber in self.subscribers:
            subscriber.close()

    def join(self) -> None:
        """Look on at the rest as well, from here on."""
        self._wanted.append([topic for topic in registry.TOPICS if topic not in UNHELD])

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join()

    @property
    def now(self) -> int:
        """A mark: what comes from here on is not yet heard."""
        return len(self.heard)

    def wait_for(
        self,
        kind: type[M],
        predicate: Callable[[M], object] = lambda _: True,
        *,
        topic: str = "",
        since: int = 0,
        patience: float = PATIENCE_S,
    ) -> bus.Delivery[M]:
        """Wait for a message of a type (and topic) for which ``predicate`` holds; give the first.

        ``since``: only what was heard after that mark counts.
        """
        at = since
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                for delivery in self.heard[at:]:
                    at += 1
                    message = delivery.message
                    if (
                        isinstance(message, kind)
                        and (not topic or delivery.topic.name == topic)
                        and predicate(message)
                    ):
                        return cast("bus.Delivery[M]", delivery)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no such {kind.__name__}; {self._last(kind, topic)}")
                self._changed.wait(left)

    def _last(self, kind: type[messages.Message], topic: str) -> str:
        seen = self.deliveries(kind, topic=topic)
        return f"{len(seen)} came, the last: {seen[-1].message if seen else None}"

    def deliveries(
        self, kind: type[M], *, topic: str = "", since: int = 0
    ) -> list[bus.Delivery[M]]:
        """Give the messages of a type (and topic) heard so far, since a mark, with their stamps."""
        return [
            cast("bus.Delivery[M]", d)
            for d in self.heard[since:]
            if isinstance(d.message, kind) and topic in ("", d.topic.name)
        ]

    def all(self, kind: type[M], *, topic: str = "", since: int = 0) -> list[M]:
        """Give the same without."""
        return [d.message for d in self.deliveries(kind, topic=topic, since=since)]

    def health(
        self,
        stage: str,
        predicate: Callable[[messages.Health], object] = lambda _: True,
        *,
        since: int = 0,
    ) -> messages.Health:
        """Wait for a stage's health; give it."""
        return self.wait_for(
            messages.Health, predicate, topic=f"{stage}.health", since=since
        ).message


class Pipeline:
    """Stages on a bus of their own. What it starts ends with it, and must have ended well.

    ``wanted``: the topics that are listened to.
    """

    def __init__(
        self,
        kept: Keeper,
        wanted: Sequence[registry.Topic] = registry.TOPICS,
        network: Network = LOCAL,
    ) -> None:
        # in /tmp whatever TMPDIR says: a socket's path has to be short
        self.directory = Path(tempfile.mkdtemp(prefix="bargein-", dir="/tmp"))
        kept.tell(str(self.directory))
        self.bus_directory = self.directory / "bus"
        bus.prepare_directory(self.bus_directory)
        self._keeper = kept
        self.children: list[Child] = []
        self.token = kept.next_token()
        #: What holds for every stage started from here on.
        self.settings: dict[str, object] = {
            "bus.directory": self.bus_directory,
            "link.url": "ws://127.0.0.1:9/v1/realtime",
            "link.retry_first_ms": 20,
            "link.retry_max_ms": 200,
            "capture.device": "null",
            "playback.device": "null",
        }
        self.env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            keeper.VARIABLE: self.token,
        }
        # a checkout's own config.toml is a person's to change
        self.config = self.directory / "config.toml"
        self.config.touch()
        self.bus = Listener(self.bus_directory, wanted, network)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *argv: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Child:
        """Start a program."""
        child = Child(argv, {**self.env, **(env or {})}, self._keeper, cwd)
        self.children.append(child)
        return child

    def python(
        self, module: str, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> Child:
        """Start ``python -m module`` with arguments."""
        return self.run(sys.executable, "-u", "-m", module, *arguments, env=env, cwd=cwd)

    def options(self, settings: Mapping[str, object]) -> list[str]:
        """Give the command line for settings, on top of the pipeline's own."""
        merged = {**self.settings, **settings}
        given = [f"--set={key}={_text(value)}" for key, value in merged.items()]
        return ["--config", str(self.config), *given]

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Give the same as variables of the environment, for what starts stages itself."""
        merged = {**self.settings, **settings}
        return {f"BARGEIN_{k.upper().replace('.', '__')}": _text(v) for k, v in merged.items()}

    def stage(
        self,
        name: str,
        *arguments: str,
        settings: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a stage."""
        return self.python(f"services.{name}", *self.options(settings or {}), *arguments, env=env)

    def ready(self, name: str, child: Child) -> messages.Health:
        """Wait until a stage's loop runs, and give its first sign of health."""
        return self.bus.health(name, lambda h: h.pid == child.pid)

    def up(self, name: str, settings: Mapping[str, object] | None = None) -> Child:
        """Start a stage and wait until it runs."""
        return self.all_up(name, settings=settings)[name]

    def all_up(self, *names: str, settings: Mapping[str, object] | None = None) -> dict[str, Child]:
        """Start stages at the same time, and wait until they run."""
        started = {name: self.stage(name, settings=settings) for name in names}
        for name, child in started.items():
            self.ready(name, child)
        return started

    def emulator(self, *arguments: str) -> Child:
        """Start an emulator on a port of its own; the stages started after it connect to it."""
        child = self.python(
            "services.emulator", "--url", "ws://127.0.0.1:0/v1/realtime", *arguments
        )
        found = re.search(r"listens at (ws://\S+),", child.wait_line("listens at"))
        assert found
        self.settings["link.url"] = found[1]
        return child

    def meet(self) -> int:
        """Wait until the stages have found each other and the server; then hear all they say.

        Give the session.
        """
        session = self.bus.wait_for(
            messages.ReplyState, lambda state: state.session
        ).message.session
        self.bus.wait_for(messages.LinkState, lambda state: state.session == session and state.sent)
        self.bus.join()
        return session

    def close(self) -> None:
        """End everything, and fail if a process had to be killed or died of an error of its own."""
        faults = []
        asked = [child for child in self.children if child.running]
        for child in asked:
            child.ask()
        for child in self.children:
            command = f"{child.name} (pid {child.pid})"
            if not child.close():
                faults.append(f"{command} had to be killed")
            elif child in asked and child.process.returncode not in child.codes:
                faults.append(f"{command} ended with {child.process.returncode}")
            if "Traceback" in child.output:
                faults.append(f"{command} died of an error of its own")
            print(f"── {command} ended with {child.process.returncode}", child.output, sep="\n")
        # what a program of these started, such as honcho its stages, ends with it
        for pid in survivors(self.token):
            faults.append(f"process {pid} was left behind")
            os.kill(pid, signal.SIGKILL)
        self.bus.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not faults, "; ".join(faults)


def settled(holds: Callable[[], object], patience: float = GONE_S + 2 * SLACK_S) -> bool:
    """Poll until something holds; return whether it did within ``patience`` s."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def survivors(token: str) -> list[int]:
    """Give the processes with a token that do not end, though they were given the time."""
    # they need not be children of ours
    settled(lambda: not keeper.bearers(token))
    return keeper.bearers(token)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment_of(pid: int) -> str:
    """Give the environment a process was started with."""
    file = Path(f"/proc/{pid}/environ")
    if file.exists():
        return file.read_text("utf-8", "replace").replace("\0", "\n")
    ps = ["ps", "eww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=True).stdout
