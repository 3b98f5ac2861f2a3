"""Opens a device, and opens it again whenever it is missing or has failed.

A device can be unplugged, the sound server can restart, and the default device can change. Opening
the device again finds the device that is there now. A sound server that hangs is asked only once:
otherwise, an attempt that succeeds late would take the device from a later attempt. A page in a
browser is a device as soon as it is there.

A device is opened and started on a thread of its own. The owner's loop waits at most AT_ONCE_S for
each of the two steps, and then goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from shared.audio.device import DeviceAway, DeviceError, InputDevice, OutputDevice

#: Seconds between two attempts to open a missing device. PortAudio looks for devices at each
#: attempt, which takes about 0.1 s of CPU time.
RETRY_S = 2.0
#: Seconds between two checks of the open device.
CHECK_S = 0.5

#: How long the loop waits for a device to open, and again for it to start, s. Most devices take 0.1
#: to 0.3 s.
AT_ONCE_S = 0.5

D = TypeVar("D", InputDevice, OutputDevice)
T = TypeVar("T")


class DeviceOwner(Protocol):
    """The event loop that owns a device, and where the device's condition is reported."""

    ok: bool  # False while there is no device
    state: str  # one line for people: the device, or why there is none
    log: logging.Logger

    def every(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` on the loop every ``seconds``."""

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` on the loop once, after ``seconds``."""

    def on_close(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when the loop ends."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add ``number`` to the counter ``what``; log ``warning``, but not at every call."""


class _Attempt(Generic[T]):
    """Opening or starting a device, on a thread of its own."""

    def __init__(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        self.ended = threading.Event()
        self._work = work
        self._then = then
        self._result: list[T] = []
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="device", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:  # noqa: BLE001 - raised again on the owner's loop
            self._error = error
        self.ended.set()

    def go_on(self) -> None:
        """Call ``then`` with the result, or raise the error."""
        if self._error is not None:
            raise self._error
        self._then(self._result[0])


class ReopeningDevice(Generic[D]):
    """A device that is opened at once, reopened after a failure, and stopped when its owner ends.

    All methods run on the owner's loop. ``kind`` is the device's name in log lines ("microphone").
    ``open_device`` returns a device that is not started, or raises DeviceError. ``prepare`` gets
    the device on the owner's loop, and returns a function that starts the device or raises
    DeviceError.
    """

    def __init__(
        self,
        owner: DeviceOwner,
        kind: str,
        open_device: Callable[[], D],
        prepare: Callable[[D], Callable[[], None]],
    ) -> None:
        #: The open device, or None while there is none. It may not have started yet.
        self.device: D | None = None
        self._owner = owner
        self._kind = kind
        self._open_device: Callable[[], D] = open_device
        self._prepare: Callable[[D], Callable[[], None]] = prepare
        self._attempt: _Attempt[Any] | None = None
        # Why another try has to wait for an event; None: it has not.
        self._away: DeviceAway | None = None
        owner.on_close(self._close)
        owner.every(CHECK_S, self._check)
        self._open()

    def _open(self) -> None:
        self._begin(_Attempt(self._open_device, self._start))

    def _start(self, device: D) -> None:
        start = self._prepare(device)
        # From here on the device's thread may call back.
        self.device = device
        self._begin(_Attempt(start, self._started))

    def _started(self, _: None) -> None:
        device = self.device
        assert device is not None
        self._owner.ok, self._owner.state = True, device.description
        self._owner.log.info("%s: %s", self._kind, device.description)

    def _begin(self, attempt: _Attempt[Any]) -> None:
        self._attempt = attempt
        if attempt.ended.wait(AT_ONCE_S):
            self._go_on(attempt)
        else:
            self._owner.ok = False
            self._owner.state = f"no {self._kind}: the sound system has not answered yet"

    def _go_on(self, attempt: _Attempt[Any]) -> None:
        owner = self._owner
        self._attempt = None
        try:
            attempt.go_on()
        except DeviceAway as error:
            self.device = None
            self._away = error
            owner.ok, owner.state = False, f"no {self._kind}: {error}"
            owner.count("no_device", warning=f"{error}; opening it when {error.until}")
        except DeviceError as error:
            self.device = None
            owner.ok, owner.state = False, f"no {self._kind}: {error}"
            owner.count("no_device", warning=f"{error}; trying again every {RETRY_S:.0f} s")
            owner.after(RETRY_S, self._open)

    def _check(self) -> None:
        if self._attempt is not None:
            if self._attempt.ended.is_set():
                self._go_on(self._attempt)
            return
        if self._away is not None and self._away.over.is_set():
            self._owner.log.info("%s: %s", self._kind, self._away.until)
            self._away = None
            self._open()
            return
        failure = self.device.failure() if self.device is not None else None
        if failure is not None:
            self._owner.count("device_lost", warning=f"{self._kind}: {failure}; opening it again")
            self._close()
            self._open()

    def _close(self) -> None:
        if self.device is not None:
            self.device.stop()
            self.device = None
