"""Fixtures that start real processes for the tests of this ring, and end them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from shared import registry
from tests.support import keeper
from tests.support.demonstration import DEMO_S, Demonstration
from tests.support.pipeline import ROOT, UNHELD, Keeper, Pipeline, environment_of


@pytest.fixture(scope="session", autouse=True)
def _can_be_ended() -> None:
    """Let SIGHUP and SIGINT end the processes, also when the tests run in the background.

    A program inherits that a signal is ignored: SIGHUP under nohup, SIGINT behind "&" in a script.
    A stage takes either for a wish to stay.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kept() -> Iterator[Keeper]:
    """Return the process that ends every process of this ring, even when the tests are killed."""
    process = Keeper()
    yield process
    process.close_fork_server()
    left = keeper.bearers(process.token)
    process.close()
    assert left == []


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Return a private bus without any stage."""
    with Pipeline(kept) as made:
        yield made


@pytest.fixture(scope="session")
def demonstration(
    kept: Keeper, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Demonstration]:
    """Start the demo in a copy of the tree whose .env, to be ignored, names another server."""
    root, out = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("out")
    shutil.copytree(ROOT / "shared", root / "shared", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "services").symlink_to(ROOT / "services")
    (root / "commands").symlink_to(ROOT / "commands")
    (root / "examples").symlink_to(ROOT / "examples")
    for name in ("Procfile.demo", "config.toml"):
        shutil.copy(ROOT / name, root)
    (root / ".env").write_text(
        "OPENAI_API_KEY=sk-test-SECRET\nBARGEIN_LINK__URL=ws://127.0.0.1:9/astray\n"
    )
    with Pipeline(kept, UNHELD) as pipeline:
        env = {
            "BARGEIN_BUS__DIRECTORY": str(pipeline.bus_directory),
            # the devices that the demo takes on a machine without a sound card
            "BARGEIN_CAPTURE__DEVICE": f"file:{ROOT}/services/emulator/voice/person.opus",
            "BARGEIN_PLAYBACK__DEVICE": f"file:{out}/speaker.wav",
        }
        arguments = ("--seconds", str(DEMO_S), "--out", str(out))
        child = pipeline.python("commands.demo", *arguments, env=env, cwd=root)
        pids = {s: pipeline.bus.health(s).pid for s in registry.PROCESSES}
        environments = {stage: environment_of(pid) for stage, pid in pids.items()}
        yield Demonstration(child, out, pipeline.bus_directory / "bargein.log", environments)
