"""The sound server for these tests, and the program that starts their stages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from tests.support.pipeline import Keeper


@pytest.fixture(autouse=True)
def _hushed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop all playback after each test, so that the next test does not hear it."""
    yield
    if "sound_server" in request.fixturenames:
        server: SoundServer = request.getfixturevalue("sound_server")
        server.hush()


@pytest.fixture(scope="session", autouse=True)
def _forked() -> Iterator[None]:
    """Fork the stages from a process that has imported their modules."""
    keeper = Keeper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "spawn", keeper.fork_server.popen)
        yield
    keeper.close()


@pytest.fixture(scope="module")
def sound_server() -> Iterator[SoundServer]:
    """Yield a sound server with the sinks `speaker` and `mic`; each module has its own."""
    if reason := SoundServer.unavailable():
        pytest.skip(reason)
    with SoundServer() as server:
        yield server
