"""A message about a refused text shows no key of it, and not a million characters."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from commands import cli, envfile, launcher, preflight
from services.emulator import arguments
from services.emulator.options import BadOption
from services.tools import mcp_file
from shared import config, proxy
from shared.directory import BusError, prepare_directory
from shared.realtime import endpoint
from shared.redaction import HEAD, MASK, TAIL, shown
from shared.setting_values import known

pytestmark = pytest.mark.unit

#: A key of OpenAI's, and one of another service, which has no form of its own.
KEYS = ["sk-proj-Abcdefgh12345678Zz", "Zq81kfjR7s9Lm2Xv4Tn6kfjR7s9Lm2Xv"]
LONG = "x" * 20_000
#: As long as a line of a message may be, with what surrounds the refused text.
LONGEST = 2 * (HEAD + TAIL)
VARIABLES = [f"BARGEIN_{key.upper().replace('.', '__')}" for key in known()]


def clean(said: str, refused: str) -> bool:
    """Return whether a text shows no key, and no long text."""
    return refused not in said and all(len(line) <= LONGEST for line in said.splitlines())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("said", ["voice = '{}': not one", "{}: unknown", "https://h/{}?", "a {}="])
def test_a_key_is_never_shown(said: str, key: str) -> None:
    assert shown(said.format(key)) == said.format(shown(key))
    assert MASK in shown(key)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("before", [0, HEAD - 30, HEAD - 5, HEAD + 10, 5000])
def test_a_key_is_not_shown_where_a_long_text_is_cut(key: str, before: int) -> None:
    for text in (
        f"{'. ' * (before // 2)}{key} {'. ' * 4000}",
        f"{'. ' * 4000} {key}{'.' * before}",
    ):
        said = shown(text)
        assert not any(key[at : at + 12] in said for at in range(len(key) - 11))
        assert len(said) <= LONGEST


@pytest.mark.parametrize(
    "said",
    [
        "gpt-4o-realtime-preview-2024-12-17",
        "session.turn_detection.interrupt_response = 'x': expected `bool`, got `str`",
        "/home/me/alsa_input.usb-Generic_USB_Audio_200901010001-00.analog-stereo",
        "'1e6' is not from 0 to 3600000 (accepted: 0 to 3600000)",
    ],
)
def test_a_short_text_without_a_key_is_shown_whole(said: str) -> None:
    assert shown(said) == said


@pytest.mark.parametrize(
    "password",
    ["a s3cr3t", "s3cr3t/", "a@s3cr3t", "a:s3cr3t", "#s3cr3t?", "12/s3cr3t", "12?s3cr3t"],
)
@pytest.mark.parametrize("scheme", ["", "http://", "socks5://"])
def test_a_refused_proxy_shows_no_password_but_how_to_write_it(scheme: str, password: str) -> None:
    with pytest.raises(config.ConfigError) as wrong:
        config.resolve(None, {"BARGEIN_LINK__PROXY": f"{scheme}me:{password}@host:99999"}, [])
    assert "s3cr3t" not in str(wrong.value)
    assert "@host:99999'" in str(wrong.value)
    assert proxy.FORM in str(wrong.value)


@pytest.mark.parametrize("variable", VARIABLES)
def test_no_setting_shows_what_it_refuses(
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "sk-another-key-12345")
    monkeypatch.setenv("BARGEIN_BUS__DIRECTORY", str(tmp_path / "bus"))
    for refused in (*KEYS, LONG):
        for text in (refused, f'["tcp://::1:1 {refused}"]'):
            monkeypatch.setenv(variable, text)
            preflight.check([])
            assert clean(capsys.readouterr().err, refused)


@pytest.mark.parametrize("refused", [*KEYS, LONG], ids=["openai", "other", "long"])
def test_no_other_place_shows_what_it_refuses(
    refused: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[session]\n"{refused}" = 1\n')
    with pytest.raises(config.ConfigError) as wrong:
        config.resolve(file, {}, [refused, f"{refused}=1", f"log.level={refused}"])
    assert len(wrong.value.errors) == 4
    assert clean(str(wrong.value), refused)

    with pytest.raises(BusError) as unusable:
        prepare_directory(tmp_path / refused / refused)
    assert clean(str(unusable.value), refused)

    (tmp_path / ".env").write_text(f"{refused.replace('-', '_')}\nlower={refused}\n")
    assert clean("\n".join(envfile.read(tmp_path / ".env")[1]), refused.replace("-", "_"))

    with pytest.raises(BadOption) as option:
        arguments.parse(["--twist", refused], {})
    assert clean(str(option.value), refused)

    servers = {
        "odd": f'{{"command": "a", "type": "{refused}"}}',
        "var": f'{{"url": "${{x:{refused}}}"}}',
    }
    listed = ", ".join(f'"{name}": {entry}' for name, entry in servers.items())
    _, faults = mcp_file.read(f'{{"mcpServers": {{{listed}}}}}'.encode(), {})
    assert len(faults) == 2
    assert clean("\n".join(faults), refused)

    assert clean(cli.unknown(refused), refused)


@pytest.mark.parametrize("line", ["control {}", "stop {}", "tap echo {}", "demo --seconds {}"])
@pytest.mark.parametrize("refused", [*KEYS, LONG], ids=["openai", "other", "long"])
def test_no_command_line_shows_what_it_refuses(
    line: str, refused: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = line.format(refused).split()
    monkeypatch.setattr("sys.argv", [command, *rest])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(import_module(cli.ROWS[command].module).main())
    assert ended.value.code == 2
    assert clean(capsys.readouterr().err, refused)


@pytest.mark.parametrize("options", ["{}", "--{}", "-c {}", "-c capture={}", "-p {}"])
@pytest.mark.parametrize("refused", [*KEYS, LONG], ids=["openai", "other", "long"])
def test_the_arguments_of_the_launcher_are_refused_in_one_line(
    options: str, refused: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Procfile").write_text("one: true\n")
    given = ["-f", str(tmp_path / "Procfile"), *options.format(refused).split()]
    assert launcher.run(given) in (1, 2)
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert clean(err, refused)
