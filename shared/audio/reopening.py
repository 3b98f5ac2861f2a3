"""A device that a stage keeps open: one that is missing or goes away is tried again, and said once.

Unplugged, the sound server restarted, a default that changes: to open it anew finds what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from shared.audio.device import DeviceError, InputDevice, OutputDevice
from shared.stage import Stage

RETRY_S = 2.0
CHECK_S = 0.5

D = TypeVar("D", InputDevice, OutputDevice)


class ReopeningDevice(Generic[D]):
    """A stage's device, from the stage's set-up to its end. It belongs to the stage's loop.

    ``what``: what a person calls it. ``begin`` opens and starts it, or raises DeviceError.
    """

    def __init__(self, stage: Stage, what: str, begin: Callable[[], D]) -> None:
        #: None while there is none.
        self.device: D | None = None
        self._stage = stage
        self._what = what
        self._begin: Callable[[], D] = begin
        stage.on_close(self._close)
        stage.every(CHECK_S, self._check)
        self._open()

    def _open(self) -> None:
        stage = self._stage
        try:
            self.device = self._begin()
        except DeviceError as error:
            stage.ok, stage.state = False, f"no {self._what}: {error}"
            stage.count("no_device", warning=f"{error}; trying again every {RETRY_S:.0f} s")
            stage.after(RETRY_S, self._open)
            return
        stage.ok, stage.state = True, self.device.description
        stage.log.info("%s: %s", self._what, self.device.description)

    def _check(self) -> None:
        failure = self.device.failure() if self.device is not None else None
        if failure is not None:
            self._stage.count("device_lost", warning=f"{self._what}: {failure}; opening it again")
            self._close()
            self._open()

    def _close(self) -> None:
        if self.device is not None:
            self.device.stop()
            self.device = None
