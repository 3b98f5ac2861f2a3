"""A module of functions: the process that runs it, as the stage sees the process.

A function can spin, block, crash or fill the memory. So each module has a process of its own. The
process is replaced when it ends, or when a function in it does not return.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.tools.offer import Tool
from services.tools.source import MOST_S, CallFailed, Log, log_lines
from services.tools.worker_process import WorkerCall, WorkerProcess
from shared.config import ROOT
from shared.messages import MAX_OUTPUT, ToolOutput

#: How long a coroutine may take to end after it was cancelled, s. A function that takes longer
#: keeps the process busy.
CANCEL_S = 1.0
#: A process that runs a call and does not begin another one within 2 s is held up by a function. A
#: busy machine takes less.
HELD_UP_S = 2.0
#: The delay before a process that has ended is started again, s. It doubles each time, until a
#: process has lived for STEADY_S.
AGAIN_S, STEADY_S = 0.1, 30.0


class Module:
    """A person's module.

    ``path``: directories in which to look for it first. ``changed`` is called when the functions
    are known, and ``say`` with the text of each notice.
    """

    def __init__(
        self,
        name: str,
        path: Sequence[str],
        *,
        memory_mb: int,
        output_limit: int,
        parallel: int,
        changed: Callable[[], None],
        say: Callable[[str], None],
        log: Log,
    ) -> None:
        self.label = name
        self.tools: Sequence[Tool] = ()
        self.settled = False
        self.trouble = ""
        self.faults: Sequence[str] = ()
        self._arguments = [
            *(f"--path={each}" for each in path),
            f"--memory-mb={memory_mb}",
            f"--output-limit={output_limit}",
            f"--parallel={parallel}",
        ]
        self._changed = changed
        self._say = say
        self._log = log
        self._worker: WorkerProcess | None = None
        self._workers: set[WorkerProcess] = set()
        self._wanted = asyncio.Event()  # a new process, in place of a retired one
        self._ready = asyncio.Event()  # there is a process that takes calls
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether a function runs in the process that takes calls."""
        return self._worker is not None and bool(self._worker.running)

    async def run(self) -> None:
        """Keep a process ready, until the task is cancelled."""
        loop = asyncio.get_running_loop()
        delay = AGAIN_S
        try:
            while True:
                self._wanted.clear()
                began = loop.time()
                loaded = await self._run_process()
                self.settled = True
                self._changed()
                if not loaded:
                    # A module that cannot be imported is the same until a person changes it.
                    await loop.create_future()
                if self._wanted.is_set():
                    continue
                if loop.time() - began > STEADY_S:
                    delay = AGAIN_S
                await asyncio.sleep(delay)
                delay = min(2 * delay, MOST_S)
        finally:
            for worker in list(self._workers):
                worker.kill()
                await worker.process.wait()

    async def call(self, tool: Tool, arguments: str, call_id: str) -> ToolOutput:
        """Run a function. Raises CallFailed."""
        while True:
            await self._ready.wait()  # for a process that is being started
            worker = self._worker
            if worker is None:
                raise CallFailed(f"the process of {self.label} has ended")
            call = worker.calls[call_id] = WorkerCall()
            worker.ask(id=call_id, name=tool.name, arguments=arguments)
            try:
                if not await self._wait_until_begun(worker, call_id, call):
                    worker.calls.pop(call_id, None)
                    continue  # with another process: so each call is run once
                told = await call.answer
            except asyncio.CancelledError:
                call.answer.cancel()
                worker.ask(cancel=call_id)
                self._background(self._replace_if_stuck(worker, call_id))
                raise
            worker.calls.pop(call_id, None)
            self._kill_if_idle(worker)
            if not told.get("ok"):
                raise CallFailed(str(told.get("text")))
            return ToolOutput(str(told.get("text", "")), list(told.get("images", ())))

    async def _wait_until_begun(
        self, worker: WorkerProcess, call_id: str, call: WorkerCall
    ) -> bool:
        """Wait until a call begins. Return False if the process will never run it.

        The call is withdrawn from a process that a function holds up. The engine limits the time.
        """
        while not call.begun.done():
            others = worker.running
            await asyncio.wait((call.begun,), timeout=HELD_UP_S)
            if not call.begun.done() and others & worker.running:
                worker.ask(withdraw=call_id)
                if not await call.begun:
                    self._replace(worker, "a function holds up its process")
        return call.begun.result()

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace_if_stuck(self, worker: WorkerProcess, call_id: str) -> None:
        """Replace the process if a function in it does not return."""
        await asyncio.sleep(CANCEL_S)
        if call_id not in worker.calls:
            return
        del worker.calls[call_id]
        self._replace(worker, "a function does not return")
        self._kill_if_idle(worker)

    def _kill_if_idle(self, worker: WorkerProcess) -> None:
        """Kill a retired process if it runs no function. Its waiting calls go to the next one."""
        if worker.retired and not worker.running:
            worker.kill()

    def _replace(self, worker: WorkerProcess, why: str) -> None:
        """Start another process for the calls from now on. The calls that run go on."""
        if worker.retired:
            return
        worker.retired = True
        self._log(f"{self.label}: {why}: the next calls get another process")
        if self._worker is worker:
            self._forget_process()
            self._wanted.set()

    async def _run_process(self) -> bool:
        """Run one process until it ends or is retired. Return whether it had loaded the module."""
        read_end, write_end = os.pipe()
        out_read, out_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                "-m",
                "services.tools.worker",
                self.label,
                f"--out={write_end}",
                *self._arguments,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=out_write,
                stderr=out_write,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
            os.close(out_write)
        worker = WorkerProcess(process)
        self._workers.add(worker)
        self._background(log_lines(out_read, self.label, self._log))
        reading = asyncio.get_running_loop().create_task(self._read(worker, read_end))
        wanted = asyncio.get_running_loop().create_task(self._wanted.wait())
        await asyncio.wait((reading, wanted), return_when=asyncio.FIRST_COMPLETED)
        wanted.cancel()
        if not reading.done():
            self._tasks.add(reading)
            reading.add_done_callback(self._tasks.discard)
            return True
        return reading.result()

    async def _read(self, worker: WorkerProcess, descriptor: int) -> bool:
        """Read a process's messages until it ends. Return whether it had loaded the module."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=2 * MAX_OUTPUT)
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        loaded = False
        try:
            while line := await reader.readline():
                told = msgspec.json.decode(line)
                if (tools := told.get("tools")) is not None:
                    loaded = True
                    self._loaded(worker, tools, told["faults"])
                elif (why := told.get("failed")) is not None:
                    again = "correct it, and run: bargein restart tools"
                    self.trouble = f"{self.label} cannot be imported: {why}; {again}"
                    self.settled = True
                elif (text := told.get("say")) is not None:
                    self._say(text)
                elif (call := worker.calls.get(told.get("begun", ""))) is not None:
                    call.settle(begun=True)
                elif (call := worker.calls.get(told.get("withdrawn", ""))) is not None:
                    call.settle(begun=False)
                elif (call := worker.calls.get(told.get("id", ""))) is not None:
                    call.settle(begun=True)  # bad arguments: the function itself never begins
                    if call.answer.done():
                        del worker.calls[told["id"]]  # it was cancelled, and has ended
                    else:
                        call.answer.set_result(told)
                self._kill_if_idle(worker)
        except (ValueError, msgspec.MsgspecError):
            self._log(f"{self.label}: a function returned more than {MAX_OUTPUT} bytes")
        finally:
            transport.close()
            worker.kill()
            code = await worker.process.wait()
            self._process_ended(worker, code, loaded=loaded)
        return loaded

    def _loaded(
        self, worker: WorkerProcess, tools: list[dict[str, Any]], faults: list[str]
    ) -> None:
        self._worker, self.trouble, self.settled = worker, "", True
        self._ready.set()
        self.tools = [Tool(t["name"], t["description"], t["parameters"]) for t in tools]
        self.faults = [f"{self.label}: {fault}" for fault in faults]
        self._changed()

    def _forget_process(self) -> None:
        self._worker = None
        self._ready.clear()

    def _process_ended(self, worker: WorkerProcess, code: int, *, loaded: bool) -> None:
        self._workers.discard(worker)
        how = f"signal {-code}" if code < 0 else f"code {code}"
        if loaded and not worker.retired:
            self._log(f"{self.label}: its process ended with {how}: it is started again")
        if self._worker is worker:
            self._forget_process()
        for call in worker.calls.values():
            call.settle(begun=False)
            if not call.answer.done():
                why = f"the function's process ended with {how}"
                call.answer.set_result({"ok": False, "text": why})
        worker.calls.clear()
