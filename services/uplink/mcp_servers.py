"""The MCP servers that the server itself connects to (``session.mcp``), as ``session.tools`` has
them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.private import read_file
from shared.settings import McpServer


class NoSecret(Exception):
    """Raised when a header's value cannot be found, with the reason."""


def entries(servers: Sequence[McpServer], warn: Callable[[str, str], None]) -> list[dict[str, Any]]:
    """Return the entries of ``session.tools`` for the servers whose secrets can be found.

    ``warn`` gets a line about each server that is left out.
    """
    found = []
    for server in servers:
        try:
            found.append(entry(server, os.environ))
        except NoSecret as why:
            warn("%s", f"session.mcp: {server.label}: {why}: the server is left out")
    return found


def entry(server: McpServer, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a server's entry in ``session.tools``. Raises NoSecret."""
    found: dict[str, Any] = {
        "type": "mcp",
        "server_label": server.label,
        "require_approval": server.require_approval,
    }
    if server.url:
        found["server_url"] = server.url
    if server.connector:
        found["connector_id"] = server.connector
    if server.allowed_tools:
        found["allowed_tools"] = server.allowed_tools
    headers = {name: _value(text, environment) for name, text in server.headers.items()}
    if server.connector and "Authorization" in headers:
        found["authorization"] = headers.pop("Authorization").removeprefix("Bearer ")
    if headers:
        found["headers"] = headers
    return found


def _value(text: str, environment: Mapping[str, str]) -> str:
    """Return a header's value, which can be in the environment or in a file."""
    kind, colon, where = text.partition(":")
    if colon and kind == "env":
        if where not in environment:
            raise NoSecret(f"the environment has no variable {where}")
        return environment[where]
    if colon and kind == "file":
        try:
            return read_file(Path(where).expanduser()).decode().strip()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise NoSecret(f"{where}: {why}") from None
    return text
