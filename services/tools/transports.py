"""The connections to MCP servers, with a limit for everything that a server may send.

The library of MCP keeps what a server's program prints until a line is complete, and an HTTP answer
until its end. A server that ends neither would take all memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from services.tools.mcp_file import Server
from shared.messages import MAX_OUTPUT

#: The longest message of a server, bytes: the longest output of a function, as JSON text.
LONGEST = 2 * MAX_OUTPUT
#: The program that ends a server with the stage. It is run as a file, because a server has a
#: directory and an environment of its own.
LEASH = Path(__file__).with_name("leash.py")
#: How long a program may go on after its input has ended, s. The leash ends it sooner.
END_S = 2.0

_Incoming = MemoryObjectSendStream[SessionMessage | Exception]
_Outgoing = MemoryObjectReceiveStream[SessionMessage]
Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


class TooLong(ValueError):
    """Raised when a server sends a message that is longer than LONGEST."""

    def __init__(self) -> None:
        super().__init__(f"a message of more than {LONGEST} bytes")


# programs


@asynccontextmanager
async def program(server: Server, cwd: str, errors: TextIO) -> AsyncIterator[Streams]:
    """Run a server's program, whose messages are lines. ``errors``: its standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", str(LEASH), server.command, *server.args),
        env=get_default_environment() | (server.env or {}),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=LONGEST,
        start_new_session=True,
    )
    incoming, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    loop = asyncio.get_running_loop()
    tasks = [
        loop.create_task(_read(process, incoming)),
        loop.create_task(_write(process, outgoing, incoming)),
    ]
    try:
        yield received, sent
    finally:
        for stream in (received, sent, incoming, outgoing):
            stream.close()
        for task in tasks:
            task.cancel()
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _read(process: asyncio.subprocess.Process, incoming: _Incoming) -> None:
    """Pass on what the program prints, until its end or a line that is too long."""
    assert process.stdout is not None
    with incoming, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        try:
            while line := await process.stdout.readline():
                await incoming.send(_message(line))
        except ValueError:
            await incoming.send(TooLong())


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write(
    process: asyncio.subprocess.Process, outgoing: _Outgoing, incoming: _Incoming
) -> None:
    """Pass messages on to the program. The end of the program ends the session."""
    assert process.stdin is not None
    with incoming, suppress(OSError, anyio.ClosedResourceError):
        async for message in outgoing:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()


# HTTP


def http(
    headers: Mapping[str, Any] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    """Return a client whose answers have a limit. The parameters are those of the MCP library."""
    return httpx2.AsyncClient(
        # A short compressed answer can become a long one, so no answer may be compressed.
        headers={**(headers or {}), "Accept-Encoding": "identity"},
        timeout=timeout or httpx2.Timeout(30.0, read=300.0),
        auth=auth,
        # With a transport of our own, the client would ignore the proxy of the environment.
        event_hooks={"response": [_limit]},
    )


async def _limit(response: httpx2.Response) -> None:
    """Limit an answer before it is read."""
    if coding := response.headers.get("content-encoding", ""):
        raise httpx2.DecodingError(f"the answer is compressed: {coding[:40]}")
    # The library has a limit for each event of a stream of events.
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Stream(response.stream)


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        room = LONGEST
        async for part in self._stream:
            room -= len(part)
            if room < 0:
                raise TooLong
            yield part

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()
