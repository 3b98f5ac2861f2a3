"""The engine: a thread with an event loop, which keeps the sources ready and runs the calls.

The stage's loop gives it jobs and is woken for each event, so that nothing that a source does can
hold the stage up.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from services.tools import offer, outputs
from services.tools.call_queue import ANSWER, Job
from services.tools.events import Done, Event, Line, Offer, Say
from services.tools.mcp_file import Server
from services.tools.module import Module
from services.tools.offer import Offered
from services.tools.source import CallFailed, Source
from shared.messages import ToolOutput
from shared.settings import Tools

if TYPE_CHECKING:
    from services.tools.server import McpServer

#: The first offer waits this long for sources that have not answered, s.
FIRST_OFFER_S = 5.0
#: How long the sources get to end, s.
CLOSE_S = 1.0
#: A function must not slow the conversation down.
NICE = 10


def _mcp_server() -> type[McpServer]:
    from services.tools.server import McpServer  # noqa: PLC0415

    return McpServer


class Engine:
    """Runs functions. ``events`` holds what has happened; ``wake`` is called for each event."""

    def __init__(
        self,
        settings: Tools,
        home: str,
        servers: Mapping[str, Server],
        wake: Callable[[], None],
        limit: int,
    ) -> None:
        """``limit``: how many functions are offered at most."""
        self.events: deque[Event] = deque()
        self._settings = settings
        self._home = home
        self._servers = servers
        self._wake = wake
        self._limit = limit
        self._said: set[str] = set()  # the lines about the last offer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._end_event: asyncio.Event | None = None
        self._sources: list[Source] = []
        self._functions: dict[str, Offered] = {}
        self._importing = False  # whether more sources are to come
        self._first_offer_made = False
        self._calls: dict[Job, asyncio.Task[None]] = {}

    # what the stage calls

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Run a call."""
        self._loop.call_soon_threadsafe(self._begin, job)

    def cancel(self, call_id: str) -> None:
        """Cancel a call that runs."""
        self._loop.call_soon_threadsafe(self._cancel, call_id)

    def close(self) -> None:
        """End the sources and the thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ask_to_end)
        self._thread.join(2 * CLOSE_S)

    # the thread

    def _run(self) -> None:
        # On Linux this holds for this thread and for what it starts.
        with suppress(OSError):
            if os.uname().sysname == "Linux":
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=CLOSE_S))
            self._loop.close()

    async def _main(self) -> None:
        self._end_event = asyncio.Event()
        for name in self._settings.modules:
            module = Module(
                name,
                [self._home],
                memory_mb=self._settings.memory_mb,
                output_limit=self._settings.output_limit,
                parallel=self._settings.parallel,
                changed=self._changed,
                say=lambda text: self._tell(Say(text)),
                log=self._log,
            )
            self._sources.append(module)
        running = [self._loop.create_task(source.run()) for source in self._sources]
        self._importing = bool(self._servers)
        self._loop.call_later(FIRST_OFFER_S, self._make_offer)
        if self._servers:
            # Imported here, because the import takes a second, and is needed only with a server.
            mcp_server = await asyncio.to_thread(_mcp_server)
            for name, server in self._servers.items():
                made = mcp_server(name, server, self._home, self._changed, self._log)
                self._sources.append(made)
                running.append(self._loop.create_task(made.run()))
            self._importing = False
        await self._end_event.wait()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CLOSE_S)

    def _ask_to_end(self) -> None:
        if self._end_event is not None:
            self._end_event.set()

    def _begin(self, job: Job) -> None:
        task = self._loop.create_task(self._call(job))
        self._calls[job] = task
        task.add_done_callback(lambda ended: self._call_ended(job, ended))

    def _call_ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._calls.pop(job, None)
        if task.cancelled():
            # The task may have been cancelled before its first step, so only this place notices it.
            self._tell(Done(job, ToolOutput(outputs.CANCELLED), False, 0))

    def _cancel(self, call_id: str) -> None:
        for job, task in self._calls.items():
            if job.call_id == call_id:
                task.cancel()

    async def _call(self, job: Job) -> None:
        began = time.monotonic()
        ok = False
        limit_s = self._settings.timeout_s
        try:
            offered = self._functions.get(job.name)
            if offered is None:
                raise CallFailed(f"there is no function {job.name}")
            source = next(s for s in self._sources if s.label == offered.source)
            async with asyncio.timeout(limit_s):
                output = await source.call(offered.tool, job.arguments, job.call_id)
            ok = True
        except CallFailed as error:
            output = ToolOutput(f"Error: {error}")
        except TimeoutError:
            output = ToolOutput(f"Error: the function took longer than {limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - a source can fail in any way
            output = ToolOutput(f"Error: {type(error).__name__}: {error}")
        self._tell(Done(job, output, ok, int((time.monotonic() - began) * 1000)))

    def _changed(self) -> None:
        if self._first_offer_made or (
            not self._importing and all(source.settled for source in self._sources)
        ):
            self._make_offer()

    def _make_offer(self) -> None:
        self._first_offer_made = True
        tools = ((source.label, source.tools) for source in self._sources)
        functions, notes = offer.build(tools, self._limit, taken=(ANSWER,))
        self._functions = {each.name: each for each in functions}
        troubles = [source.trouble for source in self._sources if source.trouble]
        faults = [*troubles, *(fault for source in self._sources for fault in source.faults)]
        for line in (*faults, *notes):
            if line not in self._said:
                self._tell(Line(line, is_fault=line in faults))
        self._said = {*faults, *notes}
        troubles += [f"{s.label} is starting" for s in self._sources if not s.settled]
        self._tell(Offer(functions, troubles))

    def _log(self, text: str) -> None:
        self._tell(Line(text))

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._wake()
