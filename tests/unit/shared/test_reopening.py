"""A device that is missing or that hangs is opened again, and never twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest

from shared.audio.device import DeviceError, DeviceHangs, InputDevice
from shared.audio.paced import PacedInput, null_input
from shared.audio.reopening import ReopeningDevice
from shared.stage import Stage
from tests.support.pipeline import settled
from tests.support.standin import StageStandIn

pytestmark = pytest.mark.unit


class Attempts:
    """Opens a device, or raises the error that the test has set."""

    def __init__(self, error: DeviceError | None) -> None:
        self.error = error
        self.number = 0

    def __call__(self) -> PacedInput:
        self.number += 1
        if self.error is not None:
            raise self.error
        return null_input()


def started(device: InputDevice) -> Callable[[], None]:
    """Return what starts a device: these tests need none that runs."""
    return lambda: None


def test_a_missing_device_is_tried_again_and_again() -> None:
    owner, attempts = StageStandIn(), Attempts(DeviceError("no microphone"))
    device = ReopeningDevice(cast("Stage", owner), "microphone", attempts, started)
    owner.pass_time()
    assert (attempts.number, device.device, owner.ok) == (2, None, False)
    attempts.error = None
    owner.pass_time()
    assert device.device is not None
    assert owner.ok
    owner.close()


def test_a_sound_system_that_hangs_is_asked_once_until_it_answers() -> None:
    over = threading.Event()
    owner, attempts = StageStandIn(), Attempts(DeviceHangs("does not answer", over))
    device = ReopeningDevice(cast("Stage", owner), "microphone", attempts, started)
    assert owner.timers == []  # no timer tries again
    for _ in range(5):
        owner.tick()
    assert (attempts.number, owner.ok) == (1, False)
    assert owner.warnings == ["does not answer; opening it when the sound system answers"]
    over.set()
    attempts.error = None
    owner.tick()
    owner.tick()
    assert (attempts.number, owner.ok) == (2, True)
    assert device.device is not None
    assert "microphone: the sound system answers" in owner.logged
    owner.close()


@pytest.mark.parametrize("slow", ["open", "start"])
def test_the_loop_goes_on_while_the_sound_system_hangs(slow: str) -> None:
    answer = threading.Event()

    def step(name: str) -> None:
        if name == slow:
            answer.wait()

    def open_device() -> PacedInput:
        step("open")
        return null_input()

    def prepare(device: InputDevice) -> Callable[[], None]:
        return lambda: step("start")

    owner = StageStandIn()
    device = ReopeningDevice(cast("Stage", owner), "microphone", open_device, prepare)
    for _ in range(3):
        owner.tick()
    assert not owner.ok
    assert owner.state == "no microphone: the sound system has not answered yet"
    assert (device.device is None) == (slow == "open")
    answer.set()

    def opened() -> bool:
        owner.tick()
        return owner.ok

    assert settled(opened)
    assert device.device is not None
    assert owner.state == device.device.description
    owner.close()
