"""A process of a module, and the calls that were given to it, as the stage sees them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import msgspec


class WorkerCall:
    """A call that was given to a process."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        #: Whether the function has begun there; False: it never will.
        self.begun: asyncio.Future[bool] = loop.create_future()
        self.answer: asyncio.Future[dict[str, Any]] = loop.create_future()

    def settle(self, *, begun: bool) -> None:
        """Note that the function has begun in this process, or that it never will."""
        if not self.begun.done():
            self.begun.set_result(begun)

    @property
    def runs(self) -> bool:
        """Whether the function has begun."""
        return self.begun.done() and not self.begun.cancelled() and self.begun.result()


class WorkerProcess:
    """One process of a module."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.calls: dict[str, WorkerCall] = {}
        self.retired = False  # a function in it holds it up: no new call is given to it

    @property
    def running(self) -> set[str]:
        """The ids of the calls whose function runs."""
        return {call_id for call_id, call in self.calls.items() if call.runs}

    def ask(self, **fields: Any) -> None:
        """Send the process an object."""
        stdin = self.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(msgspec.json.encode(fields) + b"\n")

    def kill(self) -> None:
        """End the process, and those that its functions have started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
