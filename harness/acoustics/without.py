"""Switches one mechanism of the canceller off, to show that a row of the table needs it.

A mechanism that no row needs is only a cost. The product has no setting for this.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Takes the method as it is, and returns the one that runs instead.
Change = Callable[[Callable[..., Any]], Callable[..., Any]]


class UnknownMechanismError(Exception):
    """This version of the canceller has no such mechanism."""


@dataclass(frozen=True)
class Mechanism:
    """A mechanism, and how to switch it off."""

    what: str
    row: str  # the row that collapses without it
    where: str  # module:class.method
    change: Change


def _nothing(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_, **__: None


def _never(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_, **__: False


def _passes_near(method: Callable[..., Any]) -> Callable[..., Any]:
    def process(self: object, near: object, far: object) -> object:
        method(self, near, far)
        return near

    return process


def _always_open(method: Callable[..., Any]) -> Callable[..., Any]:
    def judge(self: object, *arguments: object) -> bool:
        method(self, *arguments)
        return True

    return judge


_ECHO = "services.echo"
MECHANISMS = {
    "filter": Mechanism(
        "the linear filter", "person as loud", f"{_ECHO}.kalman:KalmanFilter.process", _passes_near
    ),
    "gate": Mechanism(
        "the gate", "person as loud", f"{_ECHO}.doubletalk:DoubleTalk.judge", _always_open
    ),
    "presence": Mechanism(
        "the proof that there is no echo", "headphones",
        f"{_ECHO}.canceller:Canceller.passes", _never,
    ),
    "bound": Mechanism(
        "the bound that the microphone sets to the path", "first words",
        f"{_ECHO}.bound:PathBound.add", _never,
    ),
    "drift": Mechanism(
        "following the clocks' drift", "drift", f"{_ECHO}.aligner:Aligner.speed_up", _nothing
    ),
    "delay": Mechanism(
        "moving the filter to a late echo", "late echo",
        f"{_ECHO}.kalman:KalmanFilter.set_delay", _nothing,
    ),
    "jump": Mechanism(
        "recognising an echo that has jumped", "delay jumps",
        f"{_ECHO}.canceller:Canceller._has_jumped", _never,
    ),
    "volume": Mechanism(
        "scaling the path when the volume is turned up", "volume steps",
        f"{_ECHO}.kalman:KalmanFilter.scale", _nothing,
    ),
}  # fmt: skip


def switch_off(name: str) -> None:
    """Switch a mechanism off in this process, for good."""
    mechanism = MECHANISMS[name]
    module_name, path = mechanism.where.split(":")
    owner_name, method_name = path.split(".")
    module = importlib.import_module(module_name)
    owner = getattr(module, owner_name, None)
    method = getattr(owner, method_name, None)
    if owner is None or method is None:
        raise UnknownMechanismError(f"this canceller has no {mechanism.where}: {mechanism.what}")
    changed: object = mechanism.change(method)
    if isinstance(method, property):
        changed = property(mechanism.change(lambda _: None))
    setattr(owner, method_name, changed)
