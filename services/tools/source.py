"""The interface that modules of functions and MCP servers share, for the engine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from services.tools.offer import Tool
from shared.messages import ToolOutput
from shared.printable import printable

#: The first delay before a source that failed is tried again, s, and the longest one.
FIRST_S, MOST_S = 1.0, 60.0
#: The most lines of a source that are logged in a second, and the most characters of each.
LINES, LINE = 10, 500

Log = Callable[[str], None]


class CallFailed(Exception):
    """Raised when a function did not return, with the reason for the model."""


class Source(Protocol):
    """Where functions come from."""

    label: str
    tools: Sequence[Tool]
    #: Whether the first try to get the functions has ended.
    settled: bool
    #: Why there are no functions, for a person; "": there are.
    trouble: str
    #: The faults of single functions, for a person.
    faults: Sequence[str]

    async def run(self) -> None:
        """Keep the source ready, until the task is cancelled."""

    async def call(self, tool: Tool, arguments: str, call_id: str) -> ToolOutput:
        """Run a function. Raises CallFailed."""


async def log_lines(descriptor: int, label: str, log: Log) -> None:
    """Log the lines that a process prints to a pipe, at most LINES a second, until its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 16)
    pipe = os.fdopen(descriptor, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    second, lines = 0, 0
    rest = b""
    try:
        while chunk := await reader.read(1 << 16):
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-LINE:]
            for line in whole:
                now = int(time.monotonic())
                second, lines = (now, 1) if now != second else (second, lines + 1)
                if lines <= LINES:
                    log(f"{label}: {printable(line.decode('utf-8', 'replace')[:LINE])}")
    finally:
        transport.close()
