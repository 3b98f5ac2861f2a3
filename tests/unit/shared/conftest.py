"""The fake PortAudio of the tests of the device library."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyaudio
import pytest

from tests.support.fake_portaudio import FakePortAudio


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePortAudio]:
    """Replace PortAudio and the clock; check that the test terminates what it initialises."""
    fake = FakePortAudio()
    monkeypatch.setattr(pyaudio, "PyAudio", fake)
    monkeypatch.setattr(time, "monotonic_ns", lambda: fake.now)
    yield fake
    assert fake.initialised == 0, "PortAudio was not terminated"
    assert fake.threads <= {"portaudio"}, "one thread makes all calls"
