"""``bargein start``: the checks come first, and the stages only if the checks pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from commands import launcher, preflight, start
from shared import config

pytestmark = pytest.mark.unit


@pytest.fixture(name="ran")
def _ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return the arguments with which the launcher has been run, and run nothing."""
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> int:
        ran.append(arguments)
        assert Path.cwd() == config.ROOT
        assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
        return 7

    monkeypatch.setattr(launcher, "run", run)
    monkeypatch.setattr(sys, "argv", ["bargein start", "capture", "-q", "link"])
    monkeypatch.chdir("/")
    monkeypatch.setenv("PATH", "/other/bin")
    return ran


def test_the_launcher_gets_the_arguments(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "check", lambda _arguments: 0)
    assert start.main() == 7
    assert ran == [["-f", "Procfile", "capture", "-q", "link"]]


def test_nothing_is_started_after_a_failed_check(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "check", lambda _arguments: 3)
    assert start.main() == 3
    assert ran == []


def test_a_check_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key in a file .env must not get into the environment of the launcher."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-test\nBARGEIN_LINK__URL=wss://host/\n")
    before = dict(os.environ)
    assert preflight.check([]) == 0, capsys.readouterr().err
    assert dict(os.environ) == before
