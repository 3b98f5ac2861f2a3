"""The configuration: config.toml, the environment and the command line, as one frozen object.

A value on the command line wins over one in the environment. The environment wins over the file,
and the file wins over the defaults in shared/settings.py. All errors are collected and shown at
once. ``bargein config`` prints the values in force and where each came from.
"""

from __future__ import annotations

import argparse
import functools
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import directory, network
from shared.prices import Price, Prices
from shared.private import read_file
from shared.redaction import masked, masked_text, shown
from shared.setting_values import build, converted, did_you_mean, flatten, from_text, keys, known
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
    Recorder,
    Session,
    Tools,
    TurnDetection,
    Uplink,
    Vad,
)
from shared.settings_check import contradictions

#: The classes of the settings are part of this module, for the modules that read them.
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
    "changed",
    "keys",
    "load",
    "masked",
    "masked_text",
    "meant_by",
    "resolve",
]

#: A setting's key, its value and where the value came from.
Given = tuple[str, Any, str]

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "config.toml"
PREFIX = "BARGEIN_"
#: The dot of a setting's name, in the name of its variable.
SEPARATOR = "__"


class ConfigError(Exception):
    """Raised with all errors in the configuration, one line for each."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = [shown(error) for error in errors]
        super().__init__("\n".join(f"config: {error}" for error in self.errors))


@dataclass(frozen=True)
class Loaded:
    """The configuration in force, and where each value came from."""

    config: Config
    #: "link.url" → "default", "config.toml", "BARGEIN_LINK__URL" or "--set".
    sources: Mapping[str, str]
    #: The directory of the file, where relative paths of [tools] begin.
    home: Path = ROOT


def meant_by(name: str) -> str:
    """Return the variable that was meant by a name with single underscores; "" if none was."""
    if not name.startswith(PREFIX) or SEPARATOR in name[len(PREFIX) :]:
        return ""
    variables = (f"{PREFIX}{key.upper().replace('.', SEPARATOR)}" for key in known())
    return next((v for v in variables if v.replace(SEPARATOR, "_") == name), "")


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
    path = file or FILE
    errors: list[str] = []
    given = _from_file(path, errors) if path.exists() or file is not None else []
    given += _from_environment(environment)
    given += _from_command_line(settings, errors)
    values = {key: default for key, (_, default) in known().items()}
    sources = dict.fromkeys(values, "default")
    built = _settle(values, sources, given, errors)
    return Loaded(built, sources, path.absolute().parent)


def changed(config: Config, settings: Mapping[str, str]) -> Config:
    """Return a configuration with other values for some settings, each as on a command line.

    ``settings``: "session.speed" → "1.25". Raises ConfigError.
    """
    values = {key: functools.reduce(getattr, key.split("."), config) for key in known()}
    given = [(key, from_text(key, text), "the change") for key, text in settings.items()]
    return _settle(values, dict.fromkeys(values, "as it is"), given, [])


def _settle(
    values: dict[str, Any], sources: dict[str, str], given: Sequence[Given], errors: list[str]
) -> Config:
    """Return the configuration of ``values`` in which each given value replaces the one before.

    ``errors``: those that were found before. Raises ConfigError with all of them.
    """
    wrong: set[str] = set()
    for key, value, source in given:
        if key not in values:
            errors.append(f"{source}: {key}: unknown{did_you_mean(key, list(values))}")
            continue
        try:
            values[key] = converted(key, value)
            sources[key] = source
        except ValueError as error:
            wrong.add(key)
            errors.append(f"{source}: {key} = {value!r}: {error}")
    built: Config = build(Config, values)
    errors += [
        f"{sources[key]}: {key} = {values[key]!r}: {why}"
        for key, why in contradictions(built)
        if key not in wrong
    ]
    if errors:
        raise ConfigError(errors)
    return built


def _from_file(path: Path, errors: list[str]) -> list[Given]:
    """Return the settings of a file. Add to ``errors`` why the file cannot be read."""
    try:
        table = tomllib.loads(read_file(path).decode("utf-8-sig"))
        return [(key, value, path.name) for key, value in flatten(table)]
    except OSError as error:
        errors.append(f"{path}: {error.strerror}: give an existing file with --config")
    except UnicodeDecodeError:
        errors.append(f"{path}: not a text file in UTF-8")
    except (ValueError, RecursionError) as error:
        errors.append(f"{path}: not valid TOML: {error}")
    return []


def _from_environment(environment: Mapping[str, str]) -> list[Given]:
    """Return the settings of the environment, in the order of their variables' names."""
    given: list[Given] = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and SEPARATOR in name[len(PREFIX) :]:
            key = name[len(PREFIX) :].lower().replace(SEPARATOR, ".")
            given.append((key, from_text(key, environment[name]), name))
    return given


def _from_command_line(settings: Sequence[str], errors: list[str]) -> list[Given]:
    """Return the settings of ``--set``. Add to ``errors`` each text that sets nothing."""
    given: list[Given] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if equals:
            given.append((key, from_text(key, text), "--set"))
        else:
            errors.append(f"--set {setting}: expected section.key=value")
    return given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has: --config, --set and --log-level."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="read FILE instead of config.toml"
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; repeat the option to change several",
    )
    parser.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        help="print the log lines of this level and above (default: log.level in config.toml)",
    )


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


def mcp_file(settings: Tools, home: Path) -> Path:
    """Return the file with the MCP servers. ``home``: the directory of config.toml."""
    return home / Path(settings.mcp_file).expanduser()


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
