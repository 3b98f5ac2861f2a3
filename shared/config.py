"""The configuration: config.toml, the environment and the command line, as one frozen object.

A value on the command line wins over one in the environment. The environment wins over the file,
and the file wins over the defaults below. All errors are collected and shown at once. ``bargein
config`` prints the values in force and where each came from.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from shared import directory, network, proxy
from shared.audio import pcm

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "config.toml"
PREFIX = "BARGEIN_"
#: The dot of a setting's name, in the name of its variable.
SEPARATOR = "__"

Ms = Annotated[int, Meta(ge=0, le=3_600_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Rate = Annotated[int, Meta(ge=pcm.LOWEST_RATE, le=pcm.HIGHEST_RATE)]


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[link]: the connection to the server."""

    url: str = "wss://api.openai.com/v1/realtime"
    model: str = "gpt-realtime-2.1"
    key_file: str = ""
    auth: Literal["auto", "bearer", "api-key", "none"] = "auto"
    proxy: str = ""
    allow_insecure: bool = False
    connect_timeout_s: Seconds = 10.0
    ping_interval_s: Seconds = 15.0
    pong_timeout_s: Seconds = 10.0
    retry_first_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    retry_max_ms: Annotated[int, Meta(ge=10, le=600_000)] = 30_000
    session_limit_s: Annotated[float, Meta(gt=0, le=86_400)] = 3600.0
    renew_before_s: Annotated[float, Meta(gt=0, le=86_400)] = 300.0


class TurnDetection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[session.turn_detection]: how the server decides that a turn begins and ends."""

    type: Literal["server_vad", "semantic_vad", "none"] = "server_vad"
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Ms = 300
    silence_duration_ms: Ms = 500
    idle_timeout_ms: Ms = 0
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[session]: what the server is asked for."""

    instructions: str = (
        "You are a helpful voice assistant. Speak naturally and keep answers short."
        " When you were interrupted, do not repeat what was already heard."
    )
    voice: str = "marin"
    greeting: str = ""
    transcription_model: str = ""
    language: str = ""
    answer_after: Literal["auto", "commit", "transcript"] = "auto"
    transcript_limit_ms: Annotated[int, Meta(ge=0, le=60_000)] = 3000
    noise_reduction: Literal["none", "near_field", "far_field"] = "none"
    input_rate: Rate = 24_000
    output_rate: Rate = 24_000
    resume_within_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    turn_detection: TurnDetection = TurnDetection()


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[capture]: the microphone."""

    device: str = "auto"
    channel: Annotated[int, Meta(ge=0, le=64)] = 0


class Echo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[echo]: how the assistant's own voice is removed from the microphone."""

    enabled: bool = True
    high_pass: bool = True
    noise_suppression: bool = False
    half_duplex: bool = False
    hangover_ms: Annotated[int, Meta(ge=0, le=2000)] = 300


class Vad(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[vad]: how speech is detected on this machine."""

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    silence_ms: Annotated[int, Meta(ge=32, le=5000)] = 300


#: Words that only show that the person is listening, or that mean nothing.
BACKCHANNELS = (
    "mm-hm", "mhm", "mm", "hmm", "hm", "uh-huh", "uh", "um", "ah", "oh", "huh", "yeah", "yep",
    "yup", "yes", "ok", "okay", "right", "sure", "really", "wow", "cool", "great", "good", "nice",
    "true", "exactly", "alright",
)  # fmt: skip


class Interruption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[interruption]: what happens to a reply when the person speaks."""

    decide: Literal["server", "client", "push_to_talk", "never"] = "server"
    duck: Literal["lower", "pause", "off"] = "lower"
    duck_db: Annotated[int, Meta(ge=1, le=60)] = 15
    duck_limit_ms: Annotated[int, Meta(ge=50, le=10_000)] = 1200
    min_speech_ms: Annotated[int, Meta(ge=0, le=5000)] = 500
    min_words: Annotated[int, Meta(ge=1, le=20)] = 1
    words_limit_ms: Annotated[int, Meta(ge=0, le=10_000)] = 2000
    backchannels: list[str] = msgspec.field(default_factory=lambda: list(BACKCHANNELS))


class Uplink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[uplink]: what is sent to the server."""

    max_age_ms: Annotated[int, Meta(ge=40, le=60_000)] = 1000


class Downlink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[downlink]: what comes from the server."""

    keep_history: bool = True


class Playback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[playback]: the speaker."""

    device: str = "auto"
    jitter_ms: Annotated[int, Meta(ge=0, le=2000)] = 40
    fade_ms: Annotated[int, Meta(ge=0, le=50)] = 2
    cues: bool = False


class Recorder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[recorder]: the conversation as a file. Only a recorder that somebody starts records."""

    directory: str = "."
    seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class Bus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[bus]: the directory and the addresses of the stages' sockets."""

    directory: str = ""
    machines: list[str] = []
    key_file: str = ""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: which log lines are shown."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, by section."""

    link: Link = Link()
    session: Session = Session()
    capture: Capture = Capture()
    echo: Echo = Echo()
    vad: Vad = Vad()
    interruption: Interruption = Interruption()
    uplink: Uplink = Uplink()
    downlink: Downlink = Downlink()
    playback: Playback = Playback()
    recorder: Recorder = Recorder()
    bus: Bus = Bus()
    log: Log = Log()


class ConfigError(Exception):
    """Raised with all errors in the configuration, one line for each."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(f"config: {error}" for error in self.errors))


@dataclass(frozen=True)
class Loaded:
    """The configuration in force, and where each value came from."""

    config: Config
    #: "link.url" → "default", "config.toml", "BARGEIN_LINK__URL" or "--set".
    sources: Mapping[str, str]


def keys(kind: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key, the type and the default of each setting."""
    hints = get_type_hints(kind, include_extras=True)
    defaults = kind()
    for name in kind.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, msgspec.Struct):
            yield from keys(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hints[name], default


@functools.cache
def _known() -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of each setting by its dotted key."""
    return {key: (kind, default) for key, kind, default in keys()}


def meant_by(name: str) -> str:
    """Return the variable that was meant by a name with single underscores; "" if none was."""
    if not name.startswith(PREFIX) or SEPARATOR in name[len(PREFIX) :]:
        return ""
    variables = (f"{PREFIX}{key.upper().replace('.', SEPARATOR)}" for key in _known())
    return next((v for v in variables if v.replace(SEPARATOR, "_") == name), "")


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _from_text(text: str, kind: Any) -> Any:
    """Return a value from the environment or the command line: as TOML, or else as plain text."""
    if kind is str:
        return text
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        # Not TOML, a number of thousands of digits, or thousands of brackets.
        return text
    return read["value"] if len(read) == 1 else text


def _mean(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not close:
        tail = {k.rpartition(".")[2]: k for k in known}
        near = difflib.get_close_matches(key.rpartition(".")[2], list(tail), n=1, cutoff=0.75)
        close = [tail[near[0]]] if near else []
    return f": did you mean {close[0]}?" if close else ""


def _build(kind: type[msgspec.Struct], values: Mapping[str, Any], prefix: str = "") -> Any:
    made = {}
    for name in kind.__struct_fields__:
        default = getattr(kind(), name)
        made[name] = (
            _build(type(default), values, f"{prefix}{name}.")
            if isinstance(default, msgspec.Struct)
            else values[f"{prefix}{name}"]
        )
    return kind(**made)


def resolve(
    file: Path | None,
    environment: Mapping[str, str],
    settings: Sequence[str],
) -> Loaded:
    """Return the configuration that a file, the environment and ``settings`` result in.

    ``file``: None means the project's own config.toml, if it exists. ``environment``: its variables
    with ``BARGEIN_`` and two more underscores count; others, such as BARGEIN_PORT, are not ours:
    Kubernetes sets them for a service of that name. ``settings``: texts of the form
    ``section.key=value``. Raises ConfigError with every unknown key, wrong type and value out of
    range.
    """
    known = _known()
    errors: list[str] = []
    given: list[tuple[str, Any, str]] = []
    path = file or FILE
    if path.exists() or file is not None:
        try:
            given += [
                (k, v, path.name) for k, v in _flatten(tomllib.loads(path.read_text("utf-8-sig")))
            ]
        except OSError as error:
            errors.append(f"{path}: {error.strerror}: give an existing file with --config")
        except UnicodeDecodeError:
            errors.append(f"{path}: not a text file in UTF-8")
        except (ValueError, RecursionError) as error:
            errors.append(f"{path}: not valid TOML: {error}")
    for name in sorted(environment):
        if name.startswith(PREFIX) and SEPARATOR in name[len(PREFIX) :]:
            key = name[len(PREFIX) :].lower().replace(SEPARATOR, ".")
            kind = known[key][0] if key in known else None
            given.append((key, _from_text(environment[name], kind), name))
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            errors.append(f"--set {setting}: expected section.key=value")
            continue
        kind = known[key][0] if key in known else None
        given.append((key, _from_text(text, kind), "--set"))
    values = {key: default for key, (_, default) in known.items()}
    sources = dict.fromkeys(known, "default")
    wrong: set[str] = set()
    for key, value, source in given:
        if key not in known:
            errors.append(f"{source}: {key}: unknown{_mean(key, list(known))}")
            continue
        try:
            # Bytes that are not UTF-8 cannot be sent or shown.
            for text in value if isinstance(value, list) else [value]:
                str(text).encode()
            values[key] = msgspec.convert(value, known[key][0])
            sources[key] = source
        except UnicodeEncodeError:
            wrong.add(key)
            errors.append(f"{source}: {key} = {value!r}: not text in UTF-8")
        except msgspec.ValidationError as error:
            wrong.add(key)
            errors.append(f"{source}: {key} = {value!r}: {str(error)[:1].lower()}{str(error)[1:]}")
    built = _build(Config, values)
    errors += [
        f"{sources[key]}: {key} = {values[key]!r}: {why}"
        for key, why in _check(built)
        if key not in wrong
    ]
    if errors:
        raise ConfigError([masked_text(error) for error in errors])
    return Loaded(built, sources)


def is_loopback(url: str) -> bool:
    """Return whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values are valid alone but not together, each with the reason."""
    link, turns = config.link, config.session.turn_detection
    try:
        parts = urlsplit(link.url)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname)
        # Reading the port raises ValueError if it is not a number.
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        yield "link.url", "expected ws://host[:port]/path or wss://…"
    elif parts.scheme == "ws" and not is_loopback(link.url) and not link.allow_insecure:
        yield (
            "link.url",
            "would send key and voice in the clear: use wss://, or link.allow_insecure = true",
        )
    if link.proxy not in ("", proxy.NONE):
        try:
            proxy.parse(link.proxy)
        except proxy.ProxyProblem as error:
            yield "link.proxy", str(error)
    if link.retry_max_ms < link.retry_first_ms:
        yield "link.retry_max_ms", "less than link.retry_first_ms"
    if link.renew_before_s >= link.session_limit_s:
        yield "link.renew_before_s", "not less than link.session_limit_s"
    if turns.idle_timeout_ms and not 5000 <= turns.idle_timeout_ms <= 30000:
        yield "session.turn_detection.idle_timeout_ms", "expected 0 (off) or 5000 to 30000"
    try:
        addresses = network.parse(config.bus.machines)
    except ValueError as error:
        yield "bus.machines", str(error)
    else:
        if network.leaves_the_machine(addresses) and not config.bus.key_file:
            yield (
                "bus.machines",
                (
                    "would let anyone on the network listen in: make a key with"
                    " 'bargein keys' and set bus.key_file on each machine"
                ),
            )
    rules = config.interruption
    if rules.decide == "client" and turns.type == "none":
        yield (
            "interruption.decide",
            "needs turns: set session.turn_detection.type, or use push_to_talk",
        )
    judged_ms = rules.min_speech_ms + config.vad.silence_ms
    if rules.decide == "client" and rules.duck != "off" and rules.duck_limit_ms < judged_ms:
        yield (
            "interruption.duck_limit_ms",
            f"less than interruption.min_speech_ms + vad.silence_ms = {judged_ms}",
        )
    paths = {
        "bus.key_file": config.bus.key_file,
        "link.key_file": link.key_file,
        "recorder.directory": config.recorder.directory,
        "bus.directory": config.bus.directory,
    }
    for key, path in paths.items():
        try:
            Path(path).expanduser()
        except RuntimeError:
            yield key, "no such user, or one without a home directory"
        if "\0" in path:
            yield key, "not a path"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has: --config, --set and --log-level."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="instead of config.toml")
    parser.add_argument(
        "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help="repeatable"
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])


def load(arguments: argparse.Namespace) -> Loaded:
    """Return the configuration for a parsed command line. Raises ConfigError."""
    settings = list(arguments.set)
    if arguments.log_level:
        settings.append(f"log.level={arguments.log_level}")
    return resolve(arguments.config, os.environ, settings)


def bus_directory(settings: Config) -> Path:
    """Return the bus directory."""
    if settings.bus.directory:
        return Path(settings.bus.directory).expanduser().absolute()
    return directory.default().directory


def bus_network(settings: Config) -> network.Network:
    """Return the endpoints that are not in the bus directory, with the key of the bus.

    Raises ConfigError if the key file has no key, or if others can read it.
    """
    key = b""
    if settings.bus.key_file:
        try:
            key = network.read_key(Path(settings.bus.key_file).expanduser())
        except network.NetworkError as error:
            raise ConfigError([str(error)]) from None
    return network.Network(network.parse(settings.bus.machines), key)


def masked_text(text: str) -> str:
    """Return a text with asterisks in place of keys and passwords.

    Covers an API key, a key in a URL's query (Azure's ``?api-key=``) and ``user:password@``.
    """
    secret = r"(?i)([?&][\w.-]*(?:key|token|secret|password|signature|sig)=)[^&#\s'\"]*"
    text = re.sub(secret, r"\1****", text)
    text = re.sub(r"//([^/@\s]*|[^\s/@:]*:[^\s@'\"]*)@", "//****@", text)
    # The address of a proxy may have no scheme.
    text = re.sub(r"(?<![\w/])[^\s/@:'\"=]+:(?!/)[^\s@'\"]+@", "****@", text)
    return re.sub(r"\b(sk|ek)[-_][A-Za-z0-9_-]{8,}", r"\1-****", text)


def masked(value: Any) -> str:
    """Return a value as TOML-like text, with asterisks in place of keys and passwords."""
    if isinstance(value, str):
        value = masked_text(value)
    return msgspec.json.encode(value).decode()
