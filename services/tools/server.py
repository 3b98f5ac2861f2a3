"""An MCP server: the connection to it, as the stage sees it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ToolListChangedNotification

from services.tools.mcp_file import Server
from services.tools.offer import Tool
from services.tools.source import FIRST_S, MOST_S, CallFailed, Log, log_lines
from services.tools.transports import TooLong, http, program
from shared.messages import ToolOutput

#: How long a server may take to begin and to list its functions, s: `npx` and `uvx` load programs.
CONNECT_S = 60.0
#: How often a connection is tested, s: a server that has died is noticed then, or at a call.
PING_S = 30.0
#: The shortest time between two readings of the list of functions, s: each change of the list makes
#: the model read all functions again.
LIST_S = 2.0
#: The most pages of a list of functions, and the most functions: a session takes fewer.
PAGES, FUNCTIONS = 50, 1000


class McpServer:
    """One MCP server.

    ``changed`` is called when its functions are known, and when they changed.
    """

    def __init__(
        self, label: str, server: Server, cwd: str, changed: Callable[[], None], log: Log
    ) -> None:
        self.label = label
        self.tools: Sequence[Tool] = ()
        self.settled = False
        self.trouble = ""
        self.faults: Sequence[str] = ()
        self._server = server
        self._cwd = str(Path(cwd, Path(server.cwd).expanduser()))
        self._changed = changed
        self._log = log
        self._client: Client | None = None
        self._look = asyncio.Event()  # the list may have changed, or the connection be lost

    async def run(self) -> None:
        """Keep the connection, until the task is cancelled."""
        delay = FIRST_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._stay_connected()
            except Exception as error:  # noqa: BLE001 - a server can fail in any way
                self._lost(_reason(error))
            if asyncio.get_running_loop().time() - began > MOST_S:
                delay = FIRST_S
            await asyncio.sleep(delay)
            delay = min(2 * delay, MOST_S)

    async def call(self, tool: Tool, arguments: str, call_id: str) -> ToolOutput:  # noqa: ARG002
        """Run a function. Raises CallFailed."""
        client = self._client
        if client is None:
            raise CallFailed(self.trouble or f"the MCP server {self.label} is starting")
        try:
            given = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise CallFailed(f"bad arguments: {error}") from None
        try:
            result = await client.call_tool(tool.name, given)
        except Exception as error:  # noqa: BLE001 - a server can fail in any way
            self._look.set()
            raise CallFailed(f"the MCP server {self.label}: {_reason(error)}") from None
        output = read(result)
        if result.is_error:
            raise CallFailed(output.text)
        return output

    async def _stay_connected(self) -> None:
        """Connect, and stay connected."""
        for name in ("mcp", "httpx2", "httpcore2", "client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # this module says what is wrong
        async with AsyncExitStack() as stack:
            server = self._server
            if server.is_sse:
                transport: Any = sse_client(
                    server.url, headers=dict(server.headers), httpx_client_factory=http
                )
            elif server.url:
                client_of_http = await stack.enter_async_context(http(server.headers))
                transport = streamable_http_client(server.url, http_client=client_of_http)
            else:
                read_end, write_end = os.pipe()
                errors = stack.enter_context(os.fdopen(write_end, "w"))
                printed = asyncio.get_running_loop().create_task(
                    log_lines(read_end, self.label, self._log)
                )
                stack.callback(printed.cancel)
                self._check_command(server)
                transport = program(server, self._cwd, errors)

            async def heard(message: object) -> None:
                if isinstance(message, TooLong):
                    self._log(f"{self.label}: {message}: the connection is closed")
                if isinstance(message, (ToolListChangedNotification, Exception)):
                    self._look.set()

            client = Client(transport, message_handler=heard)
            async with asyncio.timeout(CONNECT_S):
                await stack.enter_async_context(client)
                await self._read_list(client)
            following = asyncio.get_running_loop().create_task(self._follow(client))
            stack.push_async_callback(asyncio.wait, [following])
            stack.callback(following.cancel)
            self._client = client
            self._log(f"{self.label}: {len(self.tools)} functions")
            while True:
                try:
                    await asyncio.wait_for(self._look.wait(), PING_S)
                except TimeoutError:
                    pass
                self._look.clear()  # before the list is read: it can change meanwhile
                async with asyncio.timeout(CONNECT_S):
                    await self._read_list(client)
                # A server may say without end that its list has changed.
                await asyncio.sleep(LIST_S)

    async def _follow(self, client: Client) -> None:
        """Notice changes of the list at servers that report them only to clients that ask.

        Servers do so since the protocol's version of 2026-07-28. Older servers tell everybody.
        """
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._look.set()  # The list may have changed since it was read.
                async for _ in changes:
                    self._look.set()
        except Exception:  # noqa: BLE001 - whatever it is, the list is read again every PING_S
            pass

    def _check_command(self, server: Server) -> None:
        """Raise FileNotFoundError if there is no such command: the leash can only print that."""
        command = server.command
        if os.sep in command:
            command = str(Path(self._cwd) / command)
        if shutil.which(command, path=(server.env or {}).get("PATH")) is None:
            advice = ": list its arguments in args" if " " in command else ""
            raise FileNotFoundError(f"there is no command {server.command!r}{advice}")

    async def _read_list(self, client: Client) -> None:
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            tools += [Tool(t.name, t.description or "", t.input_schema) for t in page.tools]
            cursor = page.next_cursor
            if not cursor or len(tools) > FUNCTIONS:
                break
        if tools != self.tools or not self.settled or self.trouble:
            self.tools, self.settled, self.trouble = tools, True, ""
            self._changed()

    def _lost(self, why: str) -> None:
        self._client = None
        self.tools, self.settled = (), True
        self.trouble = f"{self.label}: no connection to this MCP server: {why}"
        self._changed()


def read(result: CallToolResult) -> ToolOutput:
    """Return the output of a call: its texts, and its pictures apart."""
    texts: list[str] = []
    images: list[str] = []
    for part in result.content:
        match part.type:
            case "text":
                texts.append(part.text)
            case "image":
                images.append(f"data:{part.mime_type};base64,{part.data}")
            case "resource":
                texts.append(getattr(part.resource, "text", f"[{part.resource.uri}]"))
            case "resource_link":
                texts.append(f"[{part.name}: {part.uri}]")
            case other:
                texts.append(f"[{other}: not supported]")
    return ToolOutput("\n".join(texts) or "Done.", images)


def _reason(error: BaseException) -> str:
    """Return an error's text in one line; for an ExceptionGroup, the text of its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {CONNECT_S:g} s"
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
