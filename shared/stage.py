"""What every stage is: a process with a configuration, a lock, a log, a loop and a heartbeat.

A stage's module gives ``run`` a function that sets it up (subscribes, opens its device, registers
its timers); everything else, from the command line to the exit code, happens here.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import heapq
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from shared import bus, config, messages, network, parent, registry
from shared.printable import printable
from shared.realtime import endpoint

if TYPE_CHECKING:
    from types import FrameType

#: Exit codes: asked to stop; cannot go on; bad configuration or command line; already running.
DONE, FAILED, BAD_CONFIG, RUNNING = 0, 1, 2, 3
#: And one that no stage gives on purpose: an error of its own, where starting it anew may help.
CRASHED = 70
#: A stage that was asked to end so that whatever started it starts it again: `bargein restart`.
RESTART = 75
RESTART_SIGNAL = signal.SIGUSR1
#: A stage that is asked to stop is gone after this long, even if it is stuck.
SHUTDOWN_S = 0.8
HEARTBEAT_S = 1.0
#: A fault that repeats is said again this often, with its count.
REPEAT_S = 10.0
#: The one stage that may keep the key in its environment.
KEY_STAGE = "link"

_ARMED: list[socket.socket] = []

M = TypeVar("M", bound=messages.Message)


class Failure(Exception):
    """Raised when a stage cannot go on; its text is the one line that is shown."""


class AlreadyRunning(Exception):
    """Raised when another process holds a stage's lock."""


class _OneLine(logging.Formatter):
    """Keeps to one line what others may have had a say in, a server for one, and to what prints."""

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(super().format(record).split())
        return printable(text)


def set_up_log(level: str) -> logging.Logger:
    """Send the log to standard error, a line a record."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _OneLine("%(asctime)s.%(msecs)03d %(levelname).1s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=getattr(logging, level.upper()), handlers=[handler], force=True)
    return logging.getLogger("bargein")


def take_lock(stage: str, directory: Path) -> int:
    """Take a stage's lock for as long as this process lives; give its file descriptor.

    Binding an ipc address that is in use steals it silently, so a second copy must be refused
    before. Raises AlreadyRunning, with the pid of the one that has it, and BusError where there can
    be no lock.
    """
    path = directory / f"{stage}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise bus.BusError(f"{path}: {error.strerror}: remove it or set bus.directory") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunning(
            f"{stage} is already running (pid {holder}): end it with 'bargein stop {stage}'"
            " (bin/bargein in a checkout), or set another bus.directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


class Stage:
    """The loop around a stage's logic, and its only way to the bus.

    Handlers run one at a time on the loop's thread. ``wake`` may be called from any thread.
    """

    def __init__(self, name: str, settings: config.Config, log: logging.Logger) -> None:
        self.name = name
        self.config = settings
        self.log = log
        self.directory = bus.prepare_directory(config.bus_directory(settings))
        self.network = config.bus_network(settings)
        self._strangers = network.refused()
        self._lock = take_lock(name, self.directory)
        self.publisher = bus.Publisher(name, self.directory, self.network)
        self.subscriber: bus.Subscriber | None = None
        self.counters: Counter[str] = Counter()
        self.ok = True
        self.state = "starting"
        self._handlers: dict[str, Callable[[bus.Delivery[Any]], None]] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, float, Callable[[], None]]] = []
        self._order = itertools.count()
        self._said: dict[str, tuple[float, int]] = {}
        self._closers: list[Callable[[], None]] = []
        self._stopping = False
        self._closed = False
        self._exit = DONE
        self._poller = bus.Poller()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._on_wake: Callable[[], None] | None = None

    # what a stage's set-up calls

    def subscribe(
        self, kind: type[M], handler: Callable[[bus.Delivery[M]], None], topic: str | None = None
    ) -> None:
        """Call ``handler`` with each message of a type (of one topic, for a Health).

        Raises ValueError for a topic that the stage's row in the registry does not list.
        """
        row = registry.BY_NAME[topic] if topic else registry.of(kind)
        if row.name not in registry.stage(self.name).reads:
            raise ValueError(
                f"{self.name} does not read {row.name}: add the topic to the stage's row in"
                " shared/registry.py"
            )
        self._handlers[row.name] = cast("Callable[[bus.Delivery[Any]], None]", handler)

    def publish(self, message: messages.Message) -> int:
        """Publish a message; give its time stamp, ns."""
        return self.publisher.publish(message)

    def every(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` each ``seconds``, the first time after as long."""
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._order), seconds, handler))

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once, in ``seconds``."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), 0.0, handler))

    def watch(self, descriptor: int, handler: Callable[[], None], *, write: bool = False) -> None:
        """Call ``handler`` whenever a file descriptor is readable (or, with ``write``,
        writable).
        """
        self._watched[descriptor] = handler
        self._poller.watch(descriptor, write=write)

    def unwatch(self, descriptor: int) -> None:
        """Watch a file descriptor no longer."""
        if self._watched.pop(descriptor, None) is not None:
            self._poller.unwatch(descriptor)

    def on_wake(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` on the loop after ``wake``: how a device's thread hands something
        over.
        """
        self._on_wake = handler

    def wake(self) -> None:
        """Wake the loop, from any thread; never blocks."""
        try:
            os.write(self._wake_out, b"w")
        except OSError:
            # a full pipe wakes it just as well, and a closed one has nobody to wake
            pass

    def on_close(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when the stage ends, the last registered first."""
        self._closers.append(handler)

    # what handlers call

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Count something that should not happen; say it, at most every ten seconds."""
        self.counters[what] += number
        if not warning:
            return
        now = time.monotonic()
        said, count = self._said.get(what, (-REPEAT_S, 0))
        if now - said >= REPEAT_S:
            total = self.counters[what]
            again = f" ({total - count} times, {total} in all)" if count else ""
            self.log.warning("%s%s", warning, again)
            self._said[what] = (now, total)

    def stop(self, code: int = DONE) -> None:
        """End the loop after this turn."""
        self._stopping = True
        self._exit = code

    # the loop

    def loop(self) -> int:
        """Run until stopped; give the exit code."""
        rows = [registry.BY_NAME[name] for name in self._handlers]
        self.subscriber = bus.Subscriber(
            rows, self.directory, self.network, observer=self.name in registry.LISTENERS
        )
        for sock in (*self.subscriber.sockets, *self.publisher.sockets):
            self._poller.watch(sock)
        self._poller.watch(self._wake_in)
        self.log.info(
            "%s (pid %d) publishes on %s",
            self.name,
            os.getpid(),
            " ".join(self.publisher.addresses) or "nothing",
        )
        self.log.info(
            "listens for %s", " ".join(f"{t.name}({t.publisher})" for t in rows) or "nothing"
        )
        self.every(HEARTBEAT_S, self._heartbeat)
        self._heartbeat()
        self.publisher.welcome()
        # what is there by now stays, and is not looked through again and again
        gc.collect()
        gc.freeze()
        try:
            while not self._stopping:
                self._turn()
        finally:
            self.close()
        return self._exit

    def _turn(self) -> None:
        subscriber = cast("bus.Subscriber", self.subscriber)
        due = 0.0 if subscriber.unread else self._timers[0][0] - time.monotonic()
        ready = self._poller.wait(due)
        for what in ready:
            if isinstance(what, int):
                if what == self._wake_in:
                    self._drain_wake()
                elif what in self._watched:
                    self._watched[what]()
        self._deliver(subscriber, ready)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now and not self._stopping:
            due, _, period, handler = heapq.heappop(self._timers)
            if period:
                # a loop that was stopped for long does not make up for the beats it missed
                again = due + period if due + period > now else now + period
                heapq.heappush(self._timers, (again, next(self._order), period, handler))
            handler()
        self.publisher.welcome(ready)

    def _deliver(self, subscriber: bus.Subscriber, ready: bus.Ready) -> None:
        # bounded, so that a flood of messages cannot keep timers and signals waiting
        for _ in range(256):
            delivery = subscriber.receive(ready)
            if delivery is None or self._stopping:
                break
            ready = ()
            if delivery.lost and delivery.topic.queue is registry.Queue.LOSSLESS:
                self.count(
                    "lost_messages",
                    delivery.lost,
                    f"{delivery.topic.name}: {delivery.lost} messages lost on the bus:"
                    f" {self.name} or its neighbour was stopped for too long",
                )
            self._handlers[delivery.topic.name](delivery)

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass  # woken for nothing
        if self._on_wake is not None:
            self._on_wake()

    def _heartbeat(self) -> None:
        faults = cast("bus.Subscriber", self.subscriber).faults
        for what in ("refused", "lost", "stale"):
            for topic, number in getattr(faults, what).items():
                self.counters[f"{what}.{topic}"] = number
        refused = sum(faults.refused.values())
        if refused > self.counters["refused"]:
            self.count("refused", refused - self.counters["refused"], faults.last)
        strangers, self._strangers = network.refused() - self._strangers, network.refused()
        if strangers:
            self.count(
                "strangers",
                strangers,
                "a peer with another key wanted in, and was turned away: has it this bus's key?",
            )
        self.publisher.repeat_state()
        health = messages.Health(
            pid=os.getpid(), ok=self.ok, state=self.state[:1024], counters=dict(self.counters)
        )
        self.publisher.publish(health, registry.health(self.name))

    def close(self) -> None:
        """Close what the stage opened, then the bus; once."""
        if self._closed:
            return
        self._closed = True
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()
        if self.subscriber is not None:
            self.subscriber.close()
        self.publisher.close()
        os.close(self._wake_in)
        # a device that did not stop in time may still wake us: into nothing
        wake_out, self._wake_out = self._wake_out, -1
        os.close(wake_out)
        os.close(self._lock)


def arm_signals(stop: Callable[[str, int], None]) -> None:
    """Call ``stop`` when this process has to end, and end the process if it is then stuck.

    ``stop`` is called on a thread of its own, with the reason ("" if somebody asked for the end)
    and the exit code. It is called on SIGINT, SIGTERM and SIGHUP (but not on a SIGHUP that was
    ignored when the process started: nohup), on SIGUSR1 with the code RESTART, and when the process
    that started this one is gone or stopped; see shared/parent.py.

    A handler that sets a flag is not seen by a loop that waits in C. The interpreter's wake-up
    descriptor is written whatever the main thread does, so a thread that reads it can act.
    """
    watched = None if parent.stays() else parent.Parent()
    ends = {signal.SIGINT, signal.SIGTERM, RESTART_SIGNAL}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.add(signal.SIGHUP)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    reader.settimeout(None if watched is None else parent.LOOK_S)
    # the interpreter keeps the descriptor only: an object that is collected would close it
    _ARMED.append(writer)

    def guard() -> None:
        reason, code = "", DONE
        while not reason:
            try:
                number = reader.recv(1)
            except TimeoutError:
                number = bytes([parent.LOOK])
            if not number:
                return
            if number[0] in ends:
                code = RESTART if number[0] == RESTART_SIGNAL else DONE
                break
            if number[0] == parent.LOOK and watched is not None:
                reason = watched.lost()
        stop(reason, code)
        time.sleep(SHUTDOWN_S)
        os._exit(code)

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (*ends, parent.LOOK):
        signal.signal(number, ignore)
    threading.Thread(target=guard, name="signals", daemon=True).start()
    if watched is not None:
        parent.signal_at_its_end()


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Give the command line every stage has."""
    made = argparse.ArgumentParser(
        prog=f"bargein {name}", description=description, allow_abbrev=False
    )
    config.add_arguments(made)
    return made


def run(
    name: str,
    set_up: Callable[[Stage], object],
    description: str,
    list_devices: Callable[[], str] | None = None,
) -> int:
    """Run a stage from its command line to its exit code.

    ``list_devices`` gives what ``--list-devices`` prints, in place of a run; None: it has none.
    """
    if name != KEY_STAGE:
        os.environ.pop(endpoint.KEY_VARIABLE, None)
    # a lock, a socket, a recording: nobody else's to read
    os.umask(0o077)
    started: list[Stage] = []

    def stop(reason: str, code: int) -> None:
        if not started:
            os._exit(code)
        if reason:
            started[0].log.warning("%s ends: %s", name, reason)
        started[0].stop(code)
        started[0].wake()

    arm_signals(stop)
    arguments_parser = parser(name, description)
    if list_devices is not None:
        arguments_parser.add_argument("--list-devices", action="store_true")
    arguments = arguments_parser.parse_args()
    if list_devices is not None and arguments.list_devices:
        print(list_devices())
        return DONE
    try:
        settings = config.load(arguments).config
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    log = set_up_log(settings.log.level)
    # a thread that computes must hand over the interpreter quickly: the device's callback waits for
    # it
    sys.setswitchinterval(0.0005)
    try:
        stage = Stage(name, settings, log)
    except AlreadyRunning as error:
        log.error("%s", error)
        return RUNNING
    except config.ConfigError as error:
        log.error("%s", error)
        return BAD_CONFIG
    except bus.BusError as error:
        log.error("%s", error)
        return FAILED
    started.append(stage)
    try:
        set_up(stage)
        return stage.loop()
    except Failure as error:
        log.error("%s", error)
        stage.close()
        return FAILED
    except Exception:  # noqa: BLE001 - not 1, which says that to start it anew is of no use
        traceback.print_exc()
        stage.close()
        return CRASHED
