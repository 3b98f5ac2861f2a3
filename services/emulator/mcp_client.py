"""The emulator's connection to the MCP servers of its sessions, over streamable HTTP."""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from services.emulator.mcp_servers import Errand, Failed
from shared.loopback import is_loopback

if TYPE_CHECKING:
    from mcp_types import CallToolResult

#: How long a server may take to answer, s.
PATIENCE_S = 30.0
#: The code of an error without a code of its own, from JSON-RPC: the server failed.
SERVER_ERROR = -32000
FORBIDDEN = 403


async def run(errand: Errand) -> list[dict[str, Any]] | str | Failed:
    """Run an errand at its server; return its result.

    A session comes from any program on this machine. So the emulator connects only to servers on
    this machine: it must not be a way into other networks.
    """
    url = errand.server.get("server_url") or ""
    if not is_loopback(url):
        said = "the emulator connects to MCP servers on this machine only"
        return Failed("http_error", f"{said}, not to {url or 'a connector'}", FORBIDDEN)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await _connected(errand, url)
    except TimeoutError:
        return Failed("protocol_error", f"no answer within {PATIENCE_S:g} s", SERVER_ERROR)
    except Exception as error:  # noqa: BLE001 - a server can fail in any way
        return _failed(error)


async def _connected(errand: Errand, url: str) -> list[dict[str, Any]] | str | Failed:
    # Imported here, and in a thread: it takes a second, and few sessions need it.
    for name in ("httpx2", "mcp.client.streamable_http"):
        await asyncio.to_thread(importlib.import_module, name)
    import httpx2  # noqa: PLC0415
    from mcp import Client  # noqa: PLC0415
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    headers = dict(errand.server.get("headers") or {})
    if token := errand.server.get("authorization"):
        headers["Authorization"] = f"Bearer {token}"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        if not errand.name:
            listed = await client.list_tools()
            return [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": tool.input_schema,
                    "annotations": None,
                }
                for tool in listed.tools
            ]
        arguments = msgspec.json.decode(errand.arguments or "{}", type=dict[str, Any])
        result: CallToolResult = await client.call_tool(errand.name, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        return Failed("tool_execution_error", text) if result.is_error else text


def _failed(error: BaseException) -> Failed:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if isinstance(status, int):
        return Failed("http_error", said, status)
    return Failed("protocol_error", said, SERVER_ERROR)
