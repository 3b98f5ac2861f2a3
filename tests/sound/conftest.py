"""The sound server, for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.pulse import SoundServer


@pytest.fixture(autouse=True)
def _hushed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let nothing that one test left being said be heard by the next."""
    yield
    if "sound_server" in request.fixturenames:
        server: SoundServer = request.getfixturevalue("sound_server")
        server.hush()


@pytest.fixture(scope="module")
def sound_server() -> Iterator[SoundServer]:
    """Give each module a sound server of its own, with a `speaker` and a `mic`."""
    if reason := SoundServer.unavailable():
        pytest.skip(reason)
    with SoundServer() as server:
        yield server
