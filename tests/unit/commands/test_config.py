"""``bargein config`` and ``bargein preflight``: what they print, and how they end."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from commands import preflight
from commands.config import main
from shared import config
from shared.directory import default
from shared.realtime import endpoint

pytestmark = pytest.mark.unit


DEFAULTS = tuple(config.keys())
KNOBS = {key: default for key, _, default in DEFAULTS}
SECRET = "sk-proj-abcdefgh12345678"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.touch()
    return path


# bargein config


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(main: Callable[[], int], *line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["prog", *line])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_settings_in_force_are_printed_with_their_sources(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARGEIN_SESSION__VOICE", "cedar")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    file.write_text('[link]\nmodel = "m\\"n"\n')
    url = f"wss://h/?api-key={SECRET}"
    code, out, err = run(
        main, "--config", str(file), "--set", f"link.url={url}", "--log-level", "debug"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    found = {}
    section = ""
    for line in lines:
        if heading := re.fullmatch(r"\[(.*)\]", line):
            section = heading[1]
        elif knob := re.fullmatch(r"(\w+) = (.*\S) +# (\S+)", line):
            value = tomllib.loads(f"value = {knob[2]}")["value"]
            found[f"{section}.{knob[1]}"] = (value, knob[3])
    assert set(found) == set(KNOBS)
    assert found["session.voice"] == ("cedar", "BARGEIN_SESSION__VOICE")
    assert found["link.model"] == ('m"n', "own.toml")
    assert found["log.level"] == ("debug", "--set")
    assert found["link.url"] == ("wss://h/?api-key=****", "--set")
    changed = {"session.voice", "link.model", "log.level", "link.url"}
    assert {k: v for k, v in found.items() if k not in changed} == {
        k: (msgspec.to_builtins(v), "default") for k, v in KNOBS.items() if k not in changed
    }
    assert "# OPENAI_API_KEY: set, ****" in lines
    assert f"# bus directory in force: {default().directory}" in lines
    assert "abcdefgh" not in out


def test_without_a_key_the_output_says_so(run: Run, file: Path) -> None:
    _, out, _ = run(main, "--config", str(file))
    assert "# OPENAI_API_KEY: not set" in out.splitlines()


def test_the_printed_configuration_is_a_file_with_the_same_settings(run: Run, file: Path) -> None:
    _, out, _ = run(main, "--config", str(file), "--set", 'session.instructions=a # b\n"c"')
    file.write_text(out)
    assert config.resolve(file, {}, []).config == msgspec.structs.replace(
        config.Config(), session=config.Session(instructions='a # b\n"c"')
    )


def test_errors_are_printed_a_line_each(run: Run, file: Path) -> None:
    code, out, err = run(main, "--config", str(file), "--set", "a=1", "--set", "b=1")
    assert (code, out) == (2, "")
    assert err == "config: --set: a: unknown\nconfig: --set: b: unknown\n"


# bargein preflight


def test_preflight_lets_a_good_set_up_pass(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr(config, "FILE", file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv(endpoint.KEY_VARIABLE, SECRET)
    assert run(preflight.main) == (0, "", "")


def test_preflight_asks_for_a_key_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr(config, "FILE", file)
    monkeypatch.chdir(file.parent)
    code, out, err = run(preflight.main)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("bargein: no API key: set OPENAI_API_KEY")


def test_preflight_takes_the_key_from_env_as_honcho_does(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(config, "FILE", file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / ".env").write_text(f"# mine\n{endpoint.KEY_VARIABLE}='{SECRET}'\n")
    assert run(preflight.main) == (0, "", "")
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    code, out, err = run(preflight.main)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bargein: .env: ")


def test_preflight_shows_what_is_wrong_with_the_configuration(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr(config, "FILE", file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("BARGEIN_LINK__URL", f"http://h?api-key={SECRET}")
    code, out, err = run(preflight.main)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "BARGEIN_LINK__URL: link.url" in err
    assert "abcdefgh" not in err


def test_preflight_does_not_show_a_broken_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr(config, "FILE", file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "abcdefgh ijklmnop")
    code, _, err = run(preflight.main)
    assert (code, err.count("\n")) == (1, 1)
    assert "abcdefgh" not in err
