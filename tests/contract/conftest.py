"""A private bus, and stages on it, in the process of the test."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shared.run
import shared.stage
from shared import config
from shared.directory import prepare_directory
from shared.stage import Stage
from tests.support.stages import Open, Run
from tests.support.wires import PATIENCE_S, Wires


@pytest.fixture(name="bus_directory")
def _bus_directory() -> Iterator[Path]:
    # pytest's temporary directories can be too long for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="bargein-") as made:
        yield prepare_directory(Path(made) / "bus")


@pytest.fixture(name="wires")
def _wires(bus_directory: Path) -> Iterator[Wires]:
    wires = Wires(bus_directory)
    yield wires
    wires.close()


@pytest.fixture(name="open_stage")
def _open_stage(wires: Wires) -> Iterator[Open]:
    opened: list[Stage] = []
    log = logging.getLogger("bargein")

    def open_stage(name: str) -> Stage:
        settings = config.Config(bus=config.Bus(directory=str(wires.directory)))
        stage = Stage(name, settings, log)
        opened.append(stage)
        stage.after(PATIENCE_S, lambda: pytest.fail("what should end it did not come"))
        return stage

    yield open_stage
    for each in opened:
        each.close()


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, wires: Wires) -> Iterator[Run]:
    before, umask = sys.getswitchinterval(), os.umask(0o022)
    monkeypatch.setattr(shared.run, "arm_signals", lambda stop, reload: None)
    monkeypatch.setattr(shared.run, "set_up_log", lambda level: logging.getLogger("bargein"))

    def run(
        *line: str,
        name: str = "capture",
        set_up: Callable[[Stage], object] = Stage.stop,
        **more: Any,
    ) -> int:
        monkeypatch.setattr(
            sys, "argv", ["stage", "--set", f"bus.directory={wires.directory}", *line]
        )
        return shared.run.run(name, set_up, "A stage.", **more)

    yield run
    sys.setswitchinterval(before)
    os.umask(umask)


@pytest.fixture(name="quick")
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.stage, "HEARTBEAT_S", 0.02)
