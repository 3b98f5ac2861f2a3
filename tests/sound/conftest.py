"""The sound server for these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.pulse import SoundServer


@pytest.fixture(autouse=True)
def _hushed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop all playback after each test, so that the next test does not hear it."""
    yield
    if "sound_server" in request.fixturenames:
        server: SoundServer = request.getfixturevalue("sound_server")
        server.hush()


@pytest.fixture(scope="module")
def sound_server() -> Iterator[SoundServer]:
    """Yield a sound server with the sinks `speaker` and `mic`; each module has its own."""
    if reason := SoundServer.unavailable():
        pytest.skip(reason)
    with SoundServer() as server:
        yield server
