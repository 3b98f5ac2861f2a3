"""Real processes on a private bus: how the process tests start, observe and end them.

A ``Pipeline`` has a bus directory, the stages on that bus, and a ``Listener`` that records all
messages. A test waits for a line of a process, for a message on the bus, or for an exit.
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
from functools import partial
from pathlib import Path
from typing import Self, TypeVar, cast

import zmq

from shared import bus, messages, registry
from shared.bus.readers import subscription
from shared.directory import prepare_directory
from shared.network import LOCAL, Network
from shared.poller import Poller
from shared.waker import Waker
from tests.support import keeper
from tests.support.forks import Forked, ForkServer

ROOT = Path(__file__).parents[2]
#: How long a test waits for a message, a line or an exit, s: much longer than any of these takes,
#: so that only a failing test waits this long.
PATIENCE_S = 20.0
#: A stage ends within this time after it is asked to, s. A busy machine may add the slack.
GONE_S = 1.0
SLACK_S = 0.5

#: The listener rests for this long, s, after it has read messages: half of a frame. To look at all
#: sockets for each message would take twice as much processor time.
TOGETHER_S = 0.01

M = TypeVar("M", bound=messages.Message)


#: The topics whose messages are never held for a consumer.
UNHELD = tuple(topic for topic in registry.TOPICS if topic.queue is not registry.Queue.LOSSLESS)


class Keeper:
    """A process that kills all other processes when the tests have ended; see ``keeper``."""

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
        self._fork_server: ForkServer | None = None
        self._lock = threading.Lock()  # a test may start several conversations at once

    @property
    def fork_server(self) -> ForkServer:
        """The program that forks stages. The first use starts it."""
        with self._lock:
            if self._fork_server is None:
                env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", keeper.VARIABLE: self.token}
                # Echo asks for this before it imports NumPy, which is imported here already.
                env["OPENBLAS_NUM_THREADS"] = "1"
                self._fork_server = ForkServer(ROOT, env)
            return self._fork_server

    def close_fork_server(self) -> None:
        """End the fork server, if one was started, and with it all stages that it forked."""
        if self._fork_server is not None:
            self._fork_server.close()
            self._fork_server = None

    def next_token(self) -> str:
        """Return a token for the processes of a pipeline. It begins with the keeper's own token."""
        return f"{self.token}.{next(self._pipelines)}."

    def tell(self, line: str) -> None:
        """Report a process group that began (+) or ended (-), or a directory."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def close(self) -> None:
        """Let the keeper kill the processes that are left, and wait for its end."""
        self.close_fork_server()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Child:
    """One process, its lines of output, and its exit code."""

    def __init__(
        self, argv: Sequence[str], process: subprocess.Popen[bytes] | Forked, kept: Keeper
    ) -> None:
        self.argv = list(argv)
        #: The name in a report: the module that runs, or else the program.
        self.name = next((b for a, b in itertools.pairwise(argv) if a == "-m"), argv[0])
        #: The exit codes that are allowed after the process was asked to end.
        self.codes = {0}
        self._keeper = kept
        self.process = process
        kept.tell(f"+{self.pid}")
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The pid, which is also the id of the process's own group."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything that the process has printed so far."""
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
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
        """Return the lines so far that contain a pattern."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_line(self, pattern: str, count: int = 1) -> str:
        """Wait until ``count`` lines contain a pattern, and return the last of these lines."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or len(self.matching(pattern)) >= count, PATIENCE_S
            )
            found = self.matching(pattern)
        assert len(found) >= count, f"no line contains {pattern!r}:\n{self.output}"
        return found[count - 1]

    def send(self, number: int) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for the end of the process. Return its exit code, which is negative for a signal."""
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
        """Send a signal, wait for the end, and return the exit code."""
        self.send(number)
        return self.wait()

    def ask(self) -> None:
        """Ask the process to end, if it still runs."""
        if self.running:
            self.send(signal.SIGTERM)
            # A process that a test has stopped can't handle the signal.
            self.send(signal.SIGCONT)

    def close(self) -> bool:
        """Wait for the end, and kill the process after a while. Return whether it ended itself."""
        asked = True
        try:
            self.process.wait(GONE_S + 2 * SLACK_S)
        except subprocess.TimeoutExpired:
            asked = False
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        assert self.process.stdout is not None
        # While a program that the process started lives on, closing its output would wait for it.
        if not self._reader.is_alive():
            self.process.stdout.close()
        return asked


def start(argv: Sequence[str], env: Mapping[str, str], kept: Keeper, cwd: Path = ROOT) -> Child:
    """Start a program."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    return Child(argv, process, kept)


class _Reader(bus.Subscriber):
    """A subscriber that can change from consuming topics to observing them."""

    def leave_to(self, stage: str, where: Callable[[str], str]) -> None:
        """Observe a stage's topics instead of consuming them. ``where``: an endpoint's address.

        While a socket is connected, its unsubscription follows its first subscription, and a
        publisher that starts later counts a consumer for a moment. So the socket connects again.
        """
        for topic in registry.read_by(stage):
            consumed = subscription(topic, observer=False)
            observed = subscription(topic, observer=True)
            if consumed == observed or consumed not in self._wanted:
                continue
            self._wanted[observed] = self._wanted.pop(consumed)
            address = where(topic.endpoint)
            for socket in self.sockets:
                if socket.getsockopt_string(zmq.LAST_ENDPOINT) == address:
                    socket.disconnect(address)
                    socket.setsockopt(zmq.UNSUBSCRIBE, consumed)
                    socket.setsockopt(zmq.SUBSCRIBE, observed)
                    socket.connect(address)


class Listener:
    """Records the messages on a bus, in the order in which they arrive.

    The listener consumes the topics in ``wanted``, in the place of the stages that a test does not
    start. Beside running stages it must not consume: it would get messages that are held for a
    stage. So it only observes the topics of each stage that the pipeline starts, see ``leave_to``.
    A test that starts a whole conversation begins with ``UNHELD``, and calls ``join`` when its
    stages have found each other; from then on the listener observes all other topics.
    """

    def __init__(
        self, directory: Path, wanted: Sequence[registry.Topic], network: Network = LOCAL
    ) -> None:
        self.heard: list[bus.Delivery[messages.Message]] = []
        self.subscribers: list[_Reader] = []
        self._directory = directory
        self._network = network
        self._wanted = [wanted]
        self._leaving: list[tuple[str, threading.Event]] = []
        self._waker = Waker()
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        # Only the thread that made a socket may use it.
        poller = Poller()
        poller.watch(self._waker.descriptor)
        while not self._ending.is_set():
            for wanted in self._wanted[len(self.subscribers) :]:
                subscriber = _Reader(
                    wanted, self._directory, self._network, observer=bool(self.subscribers)
                )
                for socket in subscriber.sockets:
                    poller.watch(socket)
                self.subscribers.append(subscriber)
            self._waker.drain()
            while self._leaving:
                stage, done = self._leaving.pop()
                self.subscribers[0].leave_to(stage, partial(self._network.where, self._directory))
                done.set()
            ready = poller.wait(0.05)
            with self._changed:
                for subscriber in self.subscribers:
                    while (delivery := subscriber.receive(ready)) is not None:
                        self.heard.append(delivery)
                self._changed.notify_all()
            if ready:
                time.sleep(TOGETHER_S)
        for subscriber in self.subscribers:
            subscriber.close()
        self._waker.close()

    def leave_to(self, stage: str) -> None:
        """From now on only observe a stage's topics, because the stage is about to start."""
        done = threading.Event()
        self._leaving.append((stage, done))
        self._waker.wake()
        assert done.wait(PATIENCE_S)

    def join(self) -> None:
        """Observe the topics outside ``UNHELD`` from now on."""
        self._wanted.append([topic for topic in registry.TOPICS if topic not in UNHELD])

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join()

    @property
    def now(self) -> int:
        """The number of messages so far, for the argument ``since`` of the other methods."""
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
        """Wait for a message of a type (and topic) that ``predicate`` accepts, and return it.

        Ignore the first ``since`` messages that were heard.
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
                    raise AssertionError(
                        f"no {kind.__name__} as expected; {self._last(kind, topic)}"
                    )
                self._changed.wait(left)

    def _last(self, kind: type[messages.Message], topic: str) -> str:
        seen = self.deliveries(kind, topic=topic)
        return f"{len(seen)} arrived, the last: {seen[-1].message if seen else None}"

    def deliveries(
        self, kind: type[M], *, topic: str = "", since: int = 0
    ) -> list[bus.Delivery[M]]:
        """Return the messages of a type (and topic) so far, with their stamps.

        Ignore the first ``since`` messages that were heard.
        """
        return [
            cast("bus.Delivery[M]", d)
            for d in self.heard[since:]
            if isinstance(d.message, kind) and topic in ("", d.topic.name)
        ]

    def all(self, kind: type[M], *, topic: str = "", since: int = 0) -> list[M]:
        """Return the same messages as ``deliveries``, without their stamps."""
        return [d.message for d in self.deliveries(kind, topic=topic, since=since)]

    def health(
        self,
        stage: str,
        predicate: Callable[[messages.Health], object] = lambda _: True,
        *,
        since: int = 0,
    ) -> messages.Health:
        """Wait for a health message of a stage that ``predicate`` accepts, and return it."""
        return self.wait_for(
            messages.Health, predicate, topic=f"{stage}.health", since=since
        ).message


class Pipeline:
    """Stages on a private bus.

    ``close`` ends every process that the pipeline started, and fails if one of them ended badly.
    ``wanted`` are the topics that the listener reads from the start.
    """

    def __init__(
        self,
        kept: Keeper,
        wanted: Sequence[registry.Topic] = registry.TOPICS,
        network: Network = LOCAL,
    ) -> None:
        # In /tmp even if TMPDIR is another directory, because a socket's path must be short.
        self.directory = Path(tempfile.mkdtemp(prefix="bargein-", dir="/tmp"))
        kept.tell(str(self.directory))
        self.bus_directory = self.directory / "bus"
        prepare_directory(self.bus_directory)
        self._keeper = kept
        self.children: list[Child] = []
        self.token = kept.next_token()
        #: The settings of every stage that is started from now on.
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
        # An empty file, because a person may have changed the checkout's own config.toml.
        self.config = self.directory / "config.toml"
        self.config.touch()
        self.bus = Listener(self.bus_directory, wanted, network)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *argv: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Child:
        """Start a program."""
        child = start(argv, {**self.env, **(env or {})}, self._keeper, cwd)
        self.children.append(child)
        return child

    def fork(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Child:
        """Start what ``python -m module`` starts, without a new interpreter; see ``forks``."""
        merged = {**self.env, **(env or {})}
        package, _, name = module.partition(".")
        if package == "services" and name in registry.PROCESSES:
            self.bus.leave_to(name)
        process = self._keeper.fork_server.start(module, arguments, merged)
        child = Child(process.args, process, self._keeper)
        self.children.append(child)
        return child

    def python(
        self, module: str, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> Child:
        """Start ``python -m module`` with arguments."""
        return self.run(sys.executable, "-u", "-m", module, *arguments, env=env, cwd=cwd)

    def options(self, settings: Mapping[str, object]) -> list[str]:
        """Return the command line for these settings and the pipeline's own."""
        merged = {**self.settings, **settings}
        given = [f"--set={key}={_text(value)}" for key, value in merged.items()]
        return ["--config", str(self.config), *given]

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Return the same settings as environment variables, for a program that starts stages."""
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
        return self.fork(f"services.{name}", *self.options(settings or {}), *arguments, env=env)

    def ready(self, name: str, child: Child) -> messages.Health:
        """Wait until a stage's loop runs, and return the stage's first health message."""
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
        """Start an emulator on a free port. The stages started after it connect to it."""
        child = self.fork("services.emulator", "--url", "ws://127.0.0.1:0/v1/realtime", *arguments)
        found = re.search(r"listens at (ws://\S+),", child.wait_line("listens at"))
        assert found
        self.settings["link.url"] = found[1]
        return child

    def meet(self) -> int:
        """Wait until the stages have found each other and the server, then observe all topics.

        Return the number of the session.
        """
        session = self.bus.wait_for(
            messages.ReplyState, lambda state: state.session
        ).message.session
        self.bus.wait_for(messages.LinkState, lambda state: state.session == session and state.sent)
        self.bus.join()
        return session

    def close(self) -> None:
        """End all processes. Fail if one had to be killed or ended with an error."""
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
                faults.append(f"{command} printed a traceback")
            print(f"── {command} ended with {child.process.returncode}", child.output, sep="\n")
        # A program such as honcho must also end the processes that it started.
        for pid in survivors(self.token):
            faults.append(f"process {pid} was left behind")
            os.kill(pid, signal.SIGKILL)
        self.bus.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not faults, "; ".join(faults)


def settled(holds: Callable[[], object], patience: float = GONE_S + 2 * SLACK_S) -> bool:
    """Poll until a condition holds. Return whether it did within ``patience`` s."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def survivors(token: str) -> list[int]:
    """Wait a while for the processes with a token to end, and return those that still run."""
    # They may be no children of this process, so they can't be waited for directly.
    settled(lambda: not keeper.bearers(token))
    return keeper.bearers(token)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment_of(pid: int) -> str:
    """Return the environment with which a process was started, a variable per line."""
    file = Path(f"/proc/{pid}/environ")
    if file.exists():
        return file.read_text("utf-8", "replace").replace("\0", "\n")
    ps = ["ps", "eww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=True).stdout
