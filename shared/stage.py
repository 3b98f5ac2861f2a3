"""The loop of a stage: deliver messages, run timers, watch descriptors, publish the health.

A stage's module passes ``run`` (shared/run.py) a function that sets the stage up: the function
subscribes, opens the stage's device and registers its timers.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from shared import bus, config, messages, now, registry
from shared.audio.device import OutputDevice
from shared.counters import Counters
from shared.directory import BusError
from shared.dispatch import Dispatch, Handler, M
from shared.exit_codes import CRASHED, DONE
from shared.place import Place
from shared.poller import Poller, Ready
from shared.reloading import Reloading
from shared.timers import Timers
from shared.waker import Waker
from shared.watchdog import ALIVE, READY, STOPPING, Reporter

#: Seconds between two healths of a stage. State topics are repeated as often.
HEARTBEAT_S = 1.0
#: Messages delivered in one round of the loop, so that a flood of them does not delay the timers.
MAX_MESSAGES = 256


class Failure(Exception):
    """Raised when a stage cannot go on. Its text is the one line that is shown."""


class Stage:
    """The loop around a stage's logic, and its only way to the bus.

    Handlers run one at a time on the loop's thread. ``wake`` may be called from any thread.
    """

    def __init__(
        self,
        name: str,
        settings: config.Config,
        log: logging.Logger,
        home: Path = config.ROOT,
    ) -> None:
        self.name = name
        #: The directory of config.toml.
        self.home = home
        self.config = settings
        self.log = log
        self.network = config.bus_network(settings)
        self._place = Place(name, config.bus_directory(settings))
        self.directory = self._place.directory
        self.publisher = bus.Publisher(name, self.directory, self.network)
        self.subscriber: bus.Subscriber | None = None
        self._counters = Counters(log)
        #: The counters of the health.
        self.counters = self._counters.values
        self.ok = True
        self.state = "starting"
        self._dispatch = Dispatch(name, self._counters)
        self._pause_s = 0.0
        self._watched: dict[int, Callable[[], None]] = {}
        self._timers = Timers()
        self._closers: list[Callable[[], None]] = []
        self._stopping = False
        self._closed = False
        self._exit = DONE
        self._poller = Poller()
        self._watchdog = Reporter()
        self._waker = Waker()
        self._on_wake: Callable[[], None] | None = None
        self._reloading = Reloading(name, log)
        #: The speaker of a recording, set only by `bargein replay`; None: playback opens a speaker
        #: itself.
        self.replayed_speaker: OutputDevice | None = None

    # what a stage's set-up calls

    def subscribe(
        self, kind: type[M], handler: Callable[[bus.Delivery[M]], None], topic: str | None = None
    ) -> None:
        """Call ``handler`` with each message of a type; for Health, also name the topic.

        Raises ValueError for a topic that the stage's row in the registry does not list.
        """
        self._dispatch.subscribe(kind, handler, topic)

    def observe_all(self, handler: Handler) -> None:
        """Call ``handler`` with each message on the bus, before the topic's own handler.

        The health counts only the topics in the stage's row. Raises ValueError unless the stage's
        row says ``observes``.
        """
        self._dispatch.observe_all(handler)

    def pause(self, seconds: float) -> None:
        """Wait before each poll, or until a ``wake``, so that one poll finds many messages."""
        self._pause_s = seconds

    def publish(self, message: messages.Message) -> int:
        """Publish a message and return its time stamp, ns."""
        return self.publisher.publish(message)

    def next_number(self) -> int:
        """Return a number that is larger than all before it, also than those before a restart.

        The number is the time, µs since 1970, unless the clock is behind the last number.
        """
        return self.publisher.numbers.next()

    def every(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` every ``seconds``, for the first time after ``seconds``."""
        self._timers.add(now.monotonic() + seconds, handler, seconds)

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once, after ``seconds``."""
        self._timers.add(now.monotonic() + seconds, handler)

    def watch(self, descriptor: int, handler: Callable[[], None], *, write: bool = False) -> None:
        """Call ``handler`` whenever a descriptor is readable; with ``write`` also when writable.

        A second call for the same descriptor replaces the first.
        """
        self._watched[descriptor] = handler
        self._poller.watch(descriptor, write=write)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a file descriptor."""
        if self._watched.pop(descriptor, None) is not None:
            self._poller.unwatch(descriptor)

    def on_wake(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` on the loop after each ``wake``.

        A device's thread calls ``wake``; the handler then takes the device's data on the loop.
        """
        self._on_wake = handler

    def wake(self) -> None:
        """Wake the loop. Any thread may call this; it never blocks."""
        self._waker.wake()

    def on_reload(self, handler: Callable[[config.Config], None]) -> None:
        """Call ``handler`` with the settings when a person has them read again."""
        self._reloading.handler = handler

    def reload(self, load: Callable[[], config.Config]) -> None:
        """Read the settings again, on the loop. Any thread may call this."""
        self._reloading.ask(load)
        self.wake()

    def on_close(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when the stage ends. The last registered handler is called first."""
        self._closers.append(handler)

    # what handlers call

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add to a counter of the health. Log ``warning``, at most every ten seconds."""
        self._counters.add(what, number, warning)

    def stop(self, code: int = DONE) -> None:
        """End the loop after this round."""
        self._stopping = True
        self._exit = code

    @property
    def exit_code(self) -> int:
        """The exit code with which the stage ends, if it ends now."""
        return self._exit if self._stopping else CRASHED

    # the loop

    def loop(self) -> int:
        """Run until the stage is stopped. Return the exit code.

        Raises AlreadyRunning if another copy has taken the lock, and Failure if the bus is gone.
        """
        rows, observes_all = self._dispatch.rows, self._dispatch.has_observer
        self.subscriber = self._connect(registry.TOPICS if observes_all else rows)
        self.subscriber.keeps_old = observes_all
        self._dispatch.start(now.monotonic())
        for sock in (*self.subscriber.sockets, *self.publisher.sockets):
            self._poller.watch(sock)
        self._poller.watch(self._waker.descriptor)
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
        self._watchdog.say(READY)
        self._heartbeat()
        self.publisher.welcome()
        # The objects that exist now live as long as the stage: the collector need not visit them.
        gc.collect()
        gc.freeze()
        try:
            while not self._stopping:
                self._round()
        finally:
            self.close()
        return self._exit

    def _connect(self, rows: Iterable[registry.Topic]) -> bus.Subscriber:
        """Return the subscriber to the topics that the stage reads."""
        observes = registry.stage(self.name).observes
        return bus.Subscriber(rows, self.directory, self.network, observer=observes)

    def _round(self) -> None:
        subscriber = cast("bus.Subscriber", self.subscriber)
        if self._pause_s:
            self._waker.wait(self._pause_s)
        ready = self._poller.wait(self._timers.next_s - now.monotonic())
        for what in ready:
            if isinstance(what, int):
                if what == self._waker.descriptor:
                    self._woken()
                elif what in self._watched:
                    self._watched[what]()
        self._deliver(subscriber, ready)
        self._run_timers(now.monotonic())
        self.publisher.welcome(ready)

    def _run_timers(self, until_s: float) -> None:
        """Call the handlers of the timers that are due."""
        while not self._stopping and (handler := self._timers.pop_due(until_s)) is not None:
            handler()

    def _deliver(self, subscriber: bus.Subscriber, ready: Ready) -> None:
        for _ in range(MAX_MESSAGES):
            delivery = subscriber.receive(ready)
            if delivery is None or self._stopping:
                break
            self._dispatch.deliver(delivery)

    def _woken(self) -> None:
        self._waker.drain()
        self._reloading.run()
        if self._on_wake is not None:
            self._on_wake()

    def _heartbeat(self) -> None:
        self._watchdog.say(ALIVE)
        self._counters.read_bus(cast("bus.Subscriber", self.subscriber).losses, self.publisher)
        self._keep_place()
        self.publisher.repeat_state()
        silent, off_rate = self._dispatch.arrivals.judge(now.monotonic())
        health = messages.Health(
            pid=os.getpid(),
            ok=self.ok,
            state=self.state[:1024],
            counters=dict(self.counters),
            received=dict(self._dispatch.arrivals.received),
            silent=silent,
            off_rate=off_rate,
        )
        self.publisher.publish(health, registry.health(self.name))

    def _keep_place(self) -> None:
        """Make the lock and the sockets again if somebody removed them.

        Raises AlreadyRunning if a second copy runs, and Failure if they cannot be made again.
        """
        try:
            if self._place.restore(self.publisher):
                self.count(
                    "removed",
                    warning=f"{self.directory} was emptied, {self.name} has made its files again:"
                    " set bus.directory to a place that nobody cleans",
                )
        except BusError as error:
            raise Failure(str(error)) from None

    def close(self) -> None:
        """Close what the stage opened, then the bus. Calls after the first do nothing."""
        if self._closed:
            return
        self._closed = True
        self._watchdog.say(STOPPING)
        self._watchdog.close()
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()
        if self.subscriber is not None:
            self.subscriber.close()
        self.publisher.close()
        self._waker.close()
        self._place.close()
