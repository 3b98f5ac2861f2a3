"""``bargein start``: the checks come first, and the stages only if the checks pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from commands import launcher, preflight, start
from shared import config
from shared.loopback import is_loopback

pytestmark = pytest.mark.unit


@pytest.fixture(name="ran")
def _ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return the arguments with which the launcher has been run, and run nothing."""
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str], _printer: object) -> int:
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


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("https_proxy=proxy:3128", 0),
        ("https_proxy=ftp://me:secret@proxy", 1),
        ("BARGEIN_LINK__PROXY=ftp://me:secret@proxy", 2),
        ("BARGEIN_LINK__PROXY=none", 0),
    ],
)
def test_a_check_says_what_is_no_proxy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BARGEIN_BUS__DIRECTORY", str(tmp_path / "bus"))
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY=sk-test-1234\n{line}\n")
    (tmp_path / ".env").chmod(0o600)
    assert preflight.check([]) == code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (code != 0)
    assert all("is not the address of a proxy: expected [http" in each for each in said)
    assert "secret" not in "".join(said)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["emulator", "link", "playback"]),
        (["-q", "echo", "capture"], ["emulator", "capture"]),
    ],
)
def test_practice_needs_no_key_and_no_dot_env(
    ran: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    named: list[str],
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"OPENAI_API_KEY": "sk-test-1234"})
    monkeypatch.setitem(os.environ, "BARGEIN_BUS__DIRECTORY", str(tmp_path / "bus"))
    monkeypatch.setattr(sys, "argv", ["bargein start", "--emulator", "-v", *arguments])
    assert start.main() == 7
    [line] = ran
    assert list(line[:4]) == ["-f", "Procfile.demo", "-e", os.devnull]
    assert set(named) <= set(line[4:])
    assert "recorder" not in line
    assert "OPENAI_API_KEY" not in os.environ
    url = config.resolve(None, os.environ, []).config.link.url
    assert is_loopback(url)
