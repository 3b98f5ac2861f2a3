"""The configuration: config.toml, the environment and the command line, as one frozen object.

A value on the command line wins over one in the environment. The environment wins over the file,
and the file wins over the defaults in shared/settings.py. All errors are collected and shown at
once. ``bargein config`` prints the values in force and where each came from.
"""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import functools
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from shared import directory, network
from shared.redaction import masked, masked_text
from shared.settings import (
    BACKCHANNELS,
    Bus,
    Capture,
    Config,
    Downlink,
    Echo,
    Interruption,
    Limits,
    Link,
    Log,
    Playback,
    Price,
    Prices,
    Recorder,
    Session,
    TurnDetection,
    Uplink,
    Vad,
)
from shared.settings_check import contradictions, is_loopback

#: The classes of the settings are part of this module, for whoever reads the configuration.
__all__ = [
    "BACKCHANNELS",
    "FILE",
    "PREFIX",
    "ROOT",
    "SEPARATOR",
    "Bus",
    "Capture",
    "Config",
    "ConfigError",
    "Downlink",
    "Echo",
    "Interruption",
    "Limits",
    "Link",
    "Loaded",
    "Log",
    "Playback",
    "Price",
    "Prices",
    "Recorder",
    "Session",
    "TurnDetection",
    "Uplink",
    "Vad",
    "add_arguments",
    "bus_directory",
    "bus_network",
    "is_loopback",
    "keys",
    "load",
    "masked",
    "masked_text",
    "meant_by",
    "resolve",
]

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "config.toml"
PREFIX = "BARGEIN_"
#: The dot of a setting's name, in the name of its variable.
SEPARATOR = "__"


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
    #: The directory of the file, where relative paths of [tools] begin.
    home: Path = ROOT


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


@functools.cache
def _tables() -> frozenset[str]:
    """Return the settings that are tables of any keys."""
    return frozenset(key for key, (_, default) in _known().items() if isinstance(default, dict))


def meant_by(name: str) -> str:
    """Return the variable that was meant by a name with single underscores; "" if none was."""
    if not name.startswith(PREFIX) or SEPARATOR in name[len(PREFIX) :]:
        return ""
    variables = (f"{PREFIX}{key.upper().replace('.', SEPARATOR)}" for key in _known())
    return next((v for v in variables if v.replace(SEPARATOR, "_") == name), "")


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of a file. A setting that is a table, such as prices.models, stays one.

    A date without quotation marks is a date in TOML, and a text here.
    """
    for name, value in table.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in _tables():
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            dated = isinstance(value, dt.date)
            yield f"{prefix}{name}", value.isoformat() if dated else value


def _from_text(text: str, kind: Any) -> Any:
    """Return a value from the environment or the command line: as TOML, or else as plain text."""
    if kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str):
        return text
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        # Not TOML, a number of thousands of digits, or thousands of brackets.
        return text
    return read["value"] if len(read) == 1 else text


def accepted(kind: Any) -> str:
    """Return the values that a setting accepts, in brackets; "" if its type says it all."""
    if get_origin(kind) is list:
        return accepted(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return f" (accepted: {', '.join(json.dumps(value) for value in get_args(kind))})"
    if get_origin(kind) is not Annotated:
        return ""
    _, meta = get_args(kind)
    low = meta.ge if meta.ge is not None else meta.gt
    if low is None or (meta.le is None and meta.lt is None):
        return ""
    high = meta.le if meta.le is not None else meta.lt
    ends = f" without {low}" if meta.ge is None else f" without {high}" if meta.le is None else ""
    return f" (accepted: {low} to {high}{ends})"


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
            why = f"{str(error)[:1].lower()}{str(error)[1:]}{accepted(known[key][0])}"
            errors.append(f"{source}: {key} = {value!r}: {why}")
    built = _build(Config, values)
    errors += [
        f"{sources[key]}: {key} = {values[key]!r}: {why}"
        for key, why in contradictions(built)
        if key not in wrong
    ]
    if errors:
        raise ConfigError([masked_text(error) for error in errors])
    return Loaded(built, sources, path.absolute().parent)


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
