"""A private bus in the test's process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.directory import prepare_directory
from tests.support.wires import Wires


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
