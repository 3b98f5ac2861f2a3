"""A device that stays open: reopen a device that is missing or that failed.

A device can be unplugged, the sound server can restart, and the default device can change. Opening
the device again finds what is there now. A sound server that hangs is asked once, not again and
again: what it would open later would take the device from whoever opens it then. A page in a
browser is a device as soon as it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from shared.audio.device import DeviceAway, DeviceError, InputDevice, OutputDevice

#: Seconds between two attempts to open a missing device. PortAudio looks for devices at each
#: attempt, which takes about 0.1 s of CPU time.
RETRY_S = 2.0
#: Seconds between two looks at whether the open device has failed.
CHECK_S = 0.5

D = TypeVar("D", InputDevice, OutputDevice)


class Owner(Protocol):
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


class ReopeningDevice(Generic[D]):
    """A device that is opened at once, reopened after a failure, and stopped when its owner ends.

    All methods run on the owner's loop. ``kind`` is the device's name in log lines ("microphone").
    ``open_and_start`` returns a started device, or raises DeviceError.
    """

    def __init__(self, owner: Owner, kind: str, open_and_start: Callable[[], D]) -> None:
        #: The open device, or None while there is none.
        self.device: D | None = None
        self._owner = owner
        self._kind = kind
        self._open_and_start: Callable[[], D] = open_and_start
        # Why another try has to wait for an event; None: it has not.
        self._away: DeviceAway | None = None
        owner.on_close(self._close)
        owner.every(CHECK_S, self._check)
        self._open()

    def _open(self) -> None:
        owner = self._owner
        try:
            self.device = self._open_and_start()
        except DeviceAway as error:
            self._away = error
            owner.ok, owner.state = False, f"no {self._kind}: {error}"
            owner.count("no_device", warning=f"{error}; opening it when {error.until}")
            return
        except DeviceError as error:
            owner.ok, owner.state = False, f"no {self._kind}: {error}"
            owner.count("no_device", warning=f"{error}; trying again every {RETRY_S:.0f} s")
            owner.after(RETRY_S, self._open)
            return
        owner.ok, owner.state = True, self.device.description
        owner.log.info("%s: %s", self._kind, self.device.description)

    def _check(self) -> None:
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
