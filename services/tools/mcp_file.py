"""The file that names the MCP servers, as other programs write it (``mcpServers``). Pure.

Other programs write the file in slightly different ways, and people copy a server's entry from any
of them. This module accepts comments, a comma too many, a byte order mark, ``servers`` as the
list's name, ``serverUrl`` and ``httpUrl``, a command with its arguments in one list, and numbers in
``env``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from shared.redaction import Refusal

#: The names of the list of servers.
LISTS = ("mcpServers", "servers")
#: Names by which other programs call an address.
ADDRESSES = ("serverUrl", "httpUrl")
#: ``${NAME}``, ``${env:NAME}`` and ``${NAME:-default}``: a variable of the environment. Any other
#: ``${…}`` is a variable of another program.
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)(?::-([^}]*))?\}|\$\{([^}]*)\}")
#: A text, which stays as it is, or a comment.
_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
#: A text, or a comma before the end of a list or an object.
_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[]}])')


class BadFile(Refusal):
    """Raised when the file, or a server in it, cannot be used, with the reason."""


class Server(msgspec.Struct, frozen=True):
    """One MCP server: a command to start, or an address."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    type: Literal["", "stdio", "http", "streamable-http", "streamableHttp", "sse"] = ""

    @property
    def is_sse(self) -> bool:
        """Whether the address speaks the transport that came before streamable HTTP."""
        return self.type == "sse" or (not self.type and urlsplit(self.url).path.endswith("/sse"))


def read(text: bytes, environment: Mapping[str, str]) -> tuple[dict[str, Server], list[str]]:
    """Return the servers by their names, and a line about each server that cannot be used.

    Variables of the environment are put in. Raises BadFile.
    """
    found: dict[str, Server] = {}
    faults: list[str] = []
    for name, given in _entries(text).items():
        if isinstance(given, dict) and _is_off(given):
            continue
        try:
            found[name] = _server(name, given, environment)
        except BadFile as why:
            faults.append(f"{name}: {why}")
            continue
        if given.get("envFile"):
            faults.append(f"{name}: envFile is not read: put the variables into env")
    return found, faults


def _entries(text: bytes) -> dict[str, Any]:
    """Return the servers in a file, as they are written. Raises BadFile."""
    try:
        # Some editors of Windows write UTF-16.
        wide = text.startswith((b"\xff\xfe", b"\xfe\xff"))
        plain = text.decode("utf-16" if wide else "utf-8-sig")
        plain = _COMMENT.sub(_without_comment, plain)
        plain = _COMMA.sub(lambda part: part[0].removeprefix(","), plain)
        file = json.loads(plain.strip() or "{}")
    except (ValueError, RecursionError) as error:
        raise BadFile(f"not JSON: {error}") from None
    if not isinstance(file, dict):
        raise BadFile(f'expected an object with "{LISTS[0]}"')
    given = next((file[name] or {} for name in LISTS if name in file), None if file else {})
    if not isinstance(given, dict):
        raise BadFile(f'expected an object with "{LISTS[0]}", and in it an object for each server')
    return given


def _without_comment(part: re.Match[str]) -> str:
    """Return a text as it is; a comment's line ends, so that an error names the right line."""
    return part[0] if part[0].startswith('"') else "\n" * part[0].count("\n") or " "


def _is_off(given: dict[str, Any]) -> bool:
    return given.get("disabled") is True or given.get("enabled") is False


def _server(name: str, given: Any, environment: Mapping[str, str]) -> Server:
    if not name.strip():
        raise BadFile("the server has no name")
    if not isinstance(given, dict):
        raise BadFile("expected an object, with command or url")
    try:
        server = msgspec.convert(_put_in(_plain(given), environment), Server)
    except msgspec.MsgspecError as error:
        raise BadFile(str(error)) from None
    if bool(server.command) == bool(server.url):
        raise BadFile("expected either command or url")
    if server.url and not server.url.startswith(("http://", "https://")):
        raise BadFile("url: expected http:// or https://")
    return server


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Return an entry in the one form that Server has. Null counts as missing."""
    made = {name: value for name, value in given.items() if value is not None}
    for name, others in (("url", ADDRESSES), ("type", ("transport",))):
        for other in others:
            if other in made:
                made.setdefault(name, made[other])
    if isinstance(made.get("command"), list) and isinstance(made.get("args", []), list):
        command, *first = made["command"] or [""]
        made |= {"command": command, "args": [*first, *made.get("args", [])]}
    if isinstance(made.get("args"), list):
        made["args"] = [_text(value) for value in made["args"]]
    for name in ("env", "headers"):
        if isinstance(made.get(name), dict):
            values = {key: _text(value) for key, value in made[name].items() if value is not None}
            made[name] = values
    return made


def _text(value: Any) -> Any:
    """Return a number or a truth value as a program expects it in a text."""
    return json.dumps(value) if isinstance(value, (bool, int, float)) else value


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
    if name is None:
        raise BadFile(f"{found[0]}: only variables of the environment are put in, as ${{NAME}}")
    value = environment.get(name) or default
    if value is None:
        raise BadFile(f"${{{name}}}: the environment has no such variable")
    return value
