"""The file that names the MCP servers, in the format of other programs (``mcpServers``). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

#: ``${NAME}`` and ``${NAME:-default}``: a variable of the environment.
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class BadFile(ValueError):
    """Raised when the file, or a server in it, cannot be used, with the reason."""


class Server(msgspec.Struct, frozen=True):
    """One MCP server: a command to start, or an address."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    disabled: bool = False


class _File(msgspec.Struct):
    mcpServers: dict[str, Any] = {}  # noqa: N815 - the name in the file


def read(text: bytes, environment: Mapping[str, str]) -> tuple[dict[str, Server], list[str]]:
    """Return the servers by their names, with the variables of the environment put in, and a line
    about each server that cannot be used. Raises BadFile.
    """
    try:
        file = msgspec.json.decode(text, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(str(error)) from None
    found: dict[str, Server] = {}
    faults: list[str] = []
    for name, given in file.mcpServers.items():
        if isinstance(given, dict) and given.get("disabled") is True:
            continue
        try:
            found[name] = _server(given, environment)
        except BadFile as why:
            faults.append(f"{name}: {why}")
    return found, faults


def _server(given: Any, environment: Mapping[str, str]) -> Server:
    try:
        server = msgspec.convert(_put_in(given, environment), Server)
    except msgspec.MsgspecError as error:
        raise BadFile(str(error)) from None
    if bool(server.command) == bool(server.url):
        raise BadFile("expected either command or url")
    if server.url and not server.url.startswith(("http://", "https://")):
        raise BadFile("url: expected http:// or https://")
    return server


def _put_in(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _put_in(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [_put_in(each, environment) for each in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, environment), value)
    return value


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    name, default = found[1], found[2]
    value = environment.get(name) or default
    if value is None:
        raise BadFile(f"${{{name}}}: the environment has no such variable")
    return value
