"""The configuration: where a value comes from, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import config
from shared.directory import default

pytestmark = pytest.mark.unit

DEFAULTS = tuple(config.keys())
KNOBS = {key: default for key, _, default in DEFAULTS}
SECRET = "sk-proj-abcdefgh12345678"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.touch()
    return path


def value(loaded: config.Loaded, key: str) -> Any:
    found: Any = loaded.config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def errors(
    text: str = "",
    environment: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    *,
    file: Path,
) -> list[str]:
    file.write_text(text, "utf-8")
    with pytest.raises(config.ConfigError) as caught:
        config.resolve(file, environment or {}, settings)
    assert str(caught.value) == "\n".join(f"config: {error}" for error in caught.value.errors)
    assert all("\n" not in error for error in caught.value.errors)
    return caught.value.errors


# precedence

LADDER: tuple[tuple[str, str, Any, str, Any, str, Any], ...] = (
    # key, in the file, in the environment, on the command line
    ("link.model", '"f"', "f", "e", "e", "c", "c"),
    ("link.allow_insecure", "true", True, "false", False, "true", True),
    ("link.ping_interval_s", "1", 1.0, "2.5", 2.5, "3", 3.0),
    ("session.turn_detection.threshold", "0.1", 0.1, "0.2", 0.2, "1", 1.0),
    (
        "session.turn_detection.type",
        '"none"',
        "none",
        "semantic_vad",
        "semantic_vad",
        "none",
        "none",
    ),
    ("playback.jitter_ms", "1", 1, "2", 2, "3", 3),
    ("log.level", '"error"', "error", "debug", "debug", "warning", "warning"),
)


def variable(key: str) -> str:
    return f"BARGEIN_{key.upper().replace('.', '__')}"


@pytest.mark.parametrize("row", LADDER, ids=lambda row: row[0])
def test_command_line_then_environment_then_file_then_default(
    row: tuple[str, str, Any, str, Any, str, Any], file: Path
) -> None:
    key, written, of_file, text, of_environment, said, of_line = row
    section, _, name = key.rpartition(".")
    in_file = f"[{section}]\n{name} = {written}\n"
    environment, line = {variable(key): text}, [f"{key}={said}"]
    tried: tuple[tuple[str, dict[str, str], list[str], Any, str], ...] = (
        (in_file, environment, line, of_line, "--set"),
        (in_file, environment, [], of_environment, variable(key)),
        (in_file, {}, [], of_file, "own.toml"),
        ("", {}, [], KNOBS[key], "default"),
        ("", {}, line, of_line, "--set"),
    )
    for content, given_environment, settings, expected, source in tried:
        file.write_text(content)
        loaded = config.resolve(file, given_environment, settings)
        assert value(loaded, key) == expected
        assert type(value(loaded, key)) is type(KNOBS[key])
        assert loaded.sources[key] == source
        others = {k: s for k, s in loaded.sources.items() if k != key}
        assert set(others.values()) == {"default"}
        assert {k: value(loaded, k) for k in others} == {k: KNOBS[k] for k in others}


def test_the_last_of_several_settings_counts(file: Path) -> None:
    loaded = config.resolve(file, {}, ["link.model=a", "link.model=b=c"])
    assert loaded.config.link.model == "b=c"


def arguments(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    return parser.parse_args(line)


def test_a_command_line_is_loaded(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("BARGEIN_SESSION__VOICE", "cedar")
    loaded = config.load(
        arguments(
            "--config",
            str(file),
            "--set",
            "link.model=a",
            "--set",
            "log.level=error",
            "--log-level",
            "debug",
        )
    )
    found = loaded.config
    assert (found.session.voice, found.link.model, found.log.level) == ("cedar", "a", "debug")


def test_every_source_is_named(file: Path) -> None:
    loaded = config.resolve(file, {}, [])
    assert set(loaded.sources) == set(KNOBS)


def test_without_a_file_the_projects_own_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(config, "FILE", tmp_path / "config.toml")
    assert config.resolve(None, {}, []).config == config.Config()
    (tmp_path / "config.toml").write_text('[link]\nmodel = "m"\n')
    assert config.resolve(None, {}, []).config.link.model == "m"


def test_a_file_that_is_named_stands_alone(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(config, "FILE", tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text('[link]\nmodel = "m"\n')
    assert config.resolve(file, {}, []).config == config.Config()


def test_variables_of_other_programs_are_left_alone(file: Path) -> None:
    environment = {"OPENAI_API_KEY": "x", "PATH": "/bin", "XBARGEIN_LINK__URL": "x", "BARGEIN": "1"}
    # Kubernetes sets these for services that are called bargein, bargein-link and bargein--link.
    environment |= {"BARGEIN_PORT": "tcp://10.0.0.1:80", "BARGEIN_SERVICE_HOST": "10.0.0.1"}
    environment |= {"BARGEIN_LINK_PORT_80_TCP": "tcp://10.0.0.1:80", "BARGEIN__LINK_PORT": "80"}
    assert config.resolve(file, environment, []).config == config.Config()


def test_a_file_may_begin_with_the_mark_that_editors_on_windows_write(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf[link]\r\nmodel = "m"\r\n')
    assert config.resolve(file, {}, []).config.link.model == "m"


def test_a_date_needs_no_quotation_marks(file: Path) -> None:
    file.write_text("[prices]\ndate = 2026-01-31\n")
    assert config.resolve(file, {}, []).config.prices.date == "2026-01-31"
    said = config.resolve(file, {"BARGEIN_PRICES__DATE": "2026-02-01"}, []).config
    assert said.prices.date == "2026-02-01"


def test_a_setting_with_a_missing_underscore_is_recognised() -> None:
    assert config.meant_by("BARGEIN_SESSION_VOICE") == "BARGEIN_SESSION__VOICE"
    assert config.meant_by("BARGEIN_SESSION_TURN_DETECTION_TYPE") == (
        "BARGEIN_SESSION__TURN_DETECTION__TYPE"
    )
    for other in ("BARGEIN_PORT", "BARGEIN_LINK_PORT", "BARGEIN_SESSION__VOICE", "PATH"):
        assert config.meant_by(other) == ""


# text


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("link.model", "true", "true"),
        ("link.model", "12", "12"),
        ("link.model", "", ""),
        ("link.model", '"quoted"', '"quoted"'),
        ("session.instructions", "one\ntwo # three", "one\ntwo # three"),
        ("session.instructions", "é = [", "é = ["),
        ("playback.jitter_ms", " 20 ", 20),
        ("playback.jitter_ms", "1_000", 1000),
        ("link.allow_insecure", "true", True),
        ("recorder.seconds", "5", 5.0),
        ("recorder.seconds", "5e1", 50.0),
        ("session.noise_reduction", "near_field", "near_field"),
        ("session.noise_reduction", '"near_field"', "near_field"),
    ],
)
def test_text_is_read_as_the_knob_needs_it(file: Path, key: str, text: str, expected: Any) -> None:
    for environment, settings in (({variable(key): text}, []), ({}, [f"{key}={text}"])):
        found = value(config.resolve(file, environment, settings), key)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("playback.jitter_ms", "", "expected `int`, got `str`"),
        ("playback.jitter_ms", "fast", "expected `int`, got `str`"),
        ("playback.jitter_ms", "1.5", "expected `int`, got `float`"),
        ("playback.jitter_ms", "20.0", "expected `int`, got `float`"),
        ("playback.jitter_ms", "true", "expected `int`, got `bool`"),
        ("playback.jitter_ms", "-1", "expected `int` >= 0"),
        ("playback.jitter_ms", "2001", "expected `int` <= 2000"),
        ("playback.jitter_ms", "1\nfade_ms = 2", "expected `int`, got `str`"),
        ("playback.jitter_ms", "9" * 5000, "expected `int`"),
        ("playback.jitter_ms", "[" * 5000, "expected `int`"),
        ("playback.jitter_ms", "2026-11-22", "expected `int`"),
        ("link.allow_insecure", "yes", "expected `bool`, got `str`"),
        ("link.allow_insecure", "1", "expected `bool`, got `int`"),
        ("link.auth", "token", "invalid enum value 'token'"),
        ("link.auth", "true", "expected `str`, got `bool`"),
        ("link.connect_timeout_s", "0", "expected `float` > 0"),
        ("link.connect_timeout_s", "nan", "expected `float`"),
        ("link.connect_timeout_s", "inf", "expected `float` <= 3600"),
        ("session.turn_detection.threshold", "nan", "expected `float`"),
        ("recorder.seconds", "nan", "expected `float`"),
        ("recorder.seconds", "-inf", "expected `float` >= 0"),
    ],
)
def test_text_that_does_not_fit(file: Path, key: str, text: str, why: str) -> None:
    (of_line,) = errors(settings=[f"{key}={text}"], file=file)
    assert of_line.startswith(f"--set: {key} = ")
    assert why in of_line
    (of_environment,) = errors(environment={variable(key): text}, file=file)
    assert of_environment.startswith(f"{variable(key)}: {key} = ")
    assert why in of_environment


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(
    st.sampled_from([*KNOBS, "nonsense.key", "link.", "."]),
    text | st.from_regex(r"[-\d.e_x\[{'\"]*"),
)
def test_every_text_is_taken_or_refused_in_one_line(key: str, said: str) -> None:
    file = config.ROOT / "config.toml"
    for environment, settings in (({variable(key): said}, []), ({}, [f"{key}={said}"])):
        try:
            loaded = config.resolve(file, environment, settings)
        except config.ConfigError as error:
            found = error.errors
        else:
            found = []
            assert value(loaded, key) == said or not isinstance(value(loaded, key), str)
        assert len(found) <= 1


# errors


def test_all_errors_come_at_once(file: Path) -> None:
    written = """
        [link]
        url = "https://api.openai.com/v1/realtime"
        retry_first_ms = 5
        [session]
        voise = "marin"
        [session.turn_detection]
        idle_timeout_ms = 100
        [bus]
        directory = 7
    """
    environment = {"BARGEIN_PLAYBACK__JITTER": "1", "BARGEIN_CAPTURE__DEVICE": "null"}
    found = errors(written, environment, ["log.level=loud", "fade_ms=1", "nothing"], file=file)
    beginnings = [
        "--set nothing: expected section.key=value",
        "own.toml: link.retry_first_ms = 5: expected `int` >= 10",
        "own.toml: session.voise: unknown: did you mean session.voice?",
        "own.toml: bus.directory = 7: expected `str`, got `int`",
        "BARGEIN_PLAYBACK__JITTER: playback.jitter: unknown: did you mean playback.jitter_ms?",
        "--set: log.level = 'loud': invalid enum value 'loud'",
        "--set: fade_ms: unknown: did you mean playback.fade_ms?",
        "own.toml: link.url = 'https://api.openai.com/v1/realtime': expected ws://host[:port]/path",
        "own.toml: session.turn_detection.idle_timeout_ms = 100: expected 0 (off) or 5000 to 30000",
    ]
    assert len(found) == len(beginnings)
    for line, beginning in zip(found, beginnings, strict=True):
        assert line.startswith(beginning)


def test_an_error_in_an_overridden_value_is_reported(file: Path) -> None:
    (found,) = errors("[link]\nmodel = 1\n", {}, ["link.model=good"], file=file)
    assert found == "own.toml: link.model = 1: expected `str`, got `int`"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("link.urls", "link.url"),
        ("linc.url", "link.url"),
        ("session.turn_detection.treshold", "session.turn_detection.threshold"),
        ("session.threshold", "session.turn_detection.threshold"),
        ("voice", "session.voice"),
        ("greetings", "session.greeting"),
        ("playback.devise", "playback.device"),
    ],
)
def test_did_you_mean(file: Path, wrong: str, meant: str) -> None:
    (found,) = errors(settings=[f"{wrong}=1"], file=file)
    assert found == f"--set: {wrong}: unknown: did you mean {meant}?"


def test_nothing_is_suggested_where_nothing_is_near(file: Path) -> None:
    (found,) = errors(settings=["zzz.qqq=1"], file=file)
    assert found == "--set: zzz.qqq: unknown"


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("link = 5", "own.toml: link: unknown"),
        ("[[link]]\nurl = 'x'", "own.toml: link: unknown"),
        ("[link.url]\nhost = 'x'", "own.toml: link.url.host: unknown: did you mean link.url?"),
        ("[link", "own.toml: not valid TOML: "),
        ("[link]\nurl = 1\nurl = 2", "own.toml: not valid TOML: "),
        (f"[playback]\njitter_ms = {'9' * 5000}", "own.toml: not valid TOML: "),
        (f"a = {'[' * 5000}", "own.toml: not valid TOML: "),
    ],
)
def test_a_file_that_is_wrong(file: Path, written: str, what: str) -> None:
    (found,) = errors(written, file=file)
    assert what in found


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    missing = tmp_path / "missing.toml"
    for path, why in (
        (missing, "No such file or directory: give an existing file with --config"),
        (tmp_path, "Is a directory: give an existing file with --config"),
        (binary, "not a text file in UTF-8"),
    ):
        with pytest.raises(config.ConfigError) as caught:
            config.resolve(path, {}, [])
        assert caught.value.errors == [f"{path}: {why}"]


# values that are wrong together


def accepted(file: Path, *settings: str) -> config.Config:
    return config.resolve(file, {}, settings).config


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "wss://",
        "wss:///path",
        "",
        "api.openai.com",
        "ws://h:99999/",
        "wss://[::1/",
        "ws://h:x",
        "wss://a..b/",
        f"wss://{'a' * 64}.example/",
    ],
)
def test_a_url_that_is_none(file: Path, url: str) -> None:
    (found,) = errors(settings=[f"link.url={url}"], file=file)
    assert "expected ws://host[:port]/path or wss://" in found


@pytest.mark.parametrize(
    "url",
    [
        "wss://h",
        "wss://h:1/p?q=1",
        "ws://localhost/x",
        "ws://127.0.0.1:1/",
        "ws://127.9.9.9/",
        "ws://[::1]:5/",
    ],
)
def test_a_url_that_is_safe(file: Path, url: str) -> None:
    assert accepted(file, f"link.url={url}").link.url == url


@pytest.mark.parametrize("url", [" wss://h/", "wss://h/ ", "wss://h/a b", "wss://h/\n"])
def test_a_url_with_a_blank_is_reported(file: Path, url: str) -> None:
    (found,) = errors(f"[link]\nurl = {json.dumps(url)}\n", file=file)
    assert "has a blank in it: remove the blank" in found


def test_a_user_and_a_password_belong_in_no_url(file: Path) -> None:
    (found,) = errors(settings=["link.url=wss://me:secret@h/"], file=file)
    assert "the key goes into OPENAI_API_KEY" in found
    assert "secret" not in found


@pytest.mark.parametrize(
    "url",
    [
        "ws://example.org/",
        "ws://192.168.0.1/",
        "ws://localhost.example.org/",
        "ws://127.0.0.1.nip.io/",
        "ws://[::2]/",
        "ws://0.0.0.0/",
    ],
)
def test_voice_and_key_do_not_go_in_the_clear_unasked(file: Path, url: str) -> None:
    (found,) = errors(settings=[f"link.url={url}"], file=file)
    assert "wss://" in found
    assert "link.allow_insecure = true" in found
    accepted(file, f"link.url={url}", "link.allow_insecure=true")


def test_delays_that_shrink(file: Path) -> None:
    (found,) = errors(settings=["link.retry_first_ms=100", "link.retry_max_ms=99"], file=file)
    assert found == "--set: link.retry_max_ms = 99: less than link.retry_first_ms"
    accepted(file, "link.retry_first_ms=100", "link.retry_max_ms=100")


def test_the_client_cannot_decide_without_turn_detection(file: Path) -> None:
    none = "session.turn_detection.type=none"
    (found,) = errors(settings=["interruption.decide=client", none], file=file)
    assert "use push_to_talk" in found
    accepted(file, "interruption.decide=push_to_talk", none)
    accepted(file, "interruption.decide=client")


@pytest.mark.parametrize("device", ["gramophone", "AUTO", "file:", "portaudio: ", "null:", ""])
@pytest.mark.parametrize("key", ["capture.device", "playback.device"])
def test_a_device_of_no_known_form_is_refused(file: Path, key: str, device: str) -> None:
    (found,) = errors(settings=[f"{key}={device}"], file=file)
    assert "expected auto, portaudio:<index or part of a name>, file:<path>, " in found
    accepted(file, f"{key}=portaudio:2")


def test_a_reply_is_not_back_before_the_speech_is_judged(file: Path) -> None:
    client = ["interruption.decide=client", "interruption.min_speech_ms=1000"]
    (found,) = errors(settings=client, file=file)
    assert found.startswith("default: interruption.duck_limit_ms = 1200: less than")
    assert found.endswith("= 1300")
    accepted(file, *client, "interruption.duck_limit_ms=1300")
    accepted(file, *client, "interruption.duck=off")
    accepted(file, "interruption.decide=server", "interruption.min_speech_ms=1000")


def test_backchannels_are_a_list_of_words(file: Path) -> None:
    accepted(file, 'interruption.backchannels=["genau", "ja"]')
    assert errors(settings=["interruption.backchannels=genau"], file=file)
    # Python represents bytes of a command line that are not UTF-8 like this.
    (found,) = errors(settings=['interruption.backchannels=["ja", "\udcff"]'], file=file)
    assert found.endswith("not text in UTF-8")


def test_a_value_that_is_wrong_by_itself_is_reported_once(file: Path) -> None:
    (found,) = errors('[link]\nretry_first_ms = 60000\nretry_max_ms = "x"\n', file=file)
    assert found.startswith("own.toml: link.retry_max_ms = 'x': expected `int`")


@pytest.mark.parametrize("ms", [0, 5000, 30_000])
def test_idle_timeouts_that_the_server_takes(file: Path, ms: int) -> None:
    accepted(file, f"session.turn_detection.idle_timeout_ms={ms}")


@pytest.mark.parametrize("ms", [1, 4999, 30_001])
def test_idle_timeouts_that_it_does_not(file: Path, ms: int) -> None:
    (found,) = errors(settings=[f"session.turn_detection.idle_timeout_ms={ms}"], file=file)
    assert "expected 0 (off) or 5000 to 30000" in found


@pytest.mark.parametrize("key", ["link.key_file", "recorder.directory", "bus.directory"])
def test_a_path_that_cannot_be(file: Path, key: str) -> None:
    (found,) = errors(settings=[f"{key}=~no-such-user-here/x"], file=file)
    assert "no such user" in found
    section, _, name = key.partition(".")
    (found,) = errors(f'[{section}]\n{name} = "a\\u0000b"\n', file=file)
    assert "not a path" in found
    accepted(file, f"{key}=~/x")


def test_the_bus_directory_follows_setting_and_environment(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert config.bus_directory(accepted(file, "bus.directory=~/b")) == tmp_path / "b"
    assert config.bus_directory(accepted(file, "bus.directory=b")) == tmp_path / "b"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert config.bus_directory(accepted(file)) == tmp_path / "bargein"
    # The XDG specification says to ignore a relative path.
    for runtime in ("run", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        assert config.bus_directory(accepted(file)) == default().directory
        assert default().directory.name == f"bargein-{os.getuid()}"


# secrets


@pytest.mark.parametrize(
    "said",
    [
        "wss://mine.openai.azure.com/openai/v1/realtime?api-key={}&model=m",
        "wss://h/?api_key={}",
        "wss://h/?a=b&API-Key={}#f",
        "wss://h/?key={}",
        "wss://h/?token={}",
        "wss://h/?access_token={}",
        "wss://h/?subscription-key={}",
        "wss://h/?client_secret={}",
        "wss://user:{}@h/path",
        "wss://{}@h",
        "'wss://h/?sig={}'",
    ],
)
@pytest.mark.parametrize("secret", ["0123456789abcdef", "a%2Fb%2B=="])
def test_secrets_in_a_url_are_masked(said: str, secret: str) -> None:
    found = config.masked_text(said.format(secret))
    assert secret not in found
    assert "****" in found
    assert found.startswith(said[:4])


@pytest.mark.parametrize("prefix", ["sk-", "sk-proj-", "ek_", "sk-svcacct-"])
def test_keys_are_masked_wherever_they_are(prefix: str) -> None:
    key = f"{prefix}Abc123_-xyzAbc123"
    for said in (key, f"Incorrect API key provided: {key}.", f"'{key}'", f"a={key}&b"):
        found = config.masked_text(said)
        assert "Abc123" not in found
        assert "xyz" not in found


@pytest.mark.parametrize(
    "said",
    [
        "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1",
        "a task-force of sk-8 people asks a risk-benefit-analysis",
        "file:/home/me/voice@home.wav",
    ],
)
def test_a_text_without_a_secret_is_left_alone(said: str) -> None:
    assert config.masked_text(said) == said


def test_errors_mask_what_they_quote(file: Path) -> None:
    found = errors(
        f'[link]\nauth = "{SECRET}"\n',
        {"BARGEIN_LINK__URL": f"http://h/?api-key={SECRET}0", "BARGEIN_LINK__KEY": SECRET},
        [SECRET, f"key={SECRET}", f"log.level={SECRET}"],
        file=file,
    )
    assert len(found) == 6
    assert "abcdefgh" not in " ".join(found)
