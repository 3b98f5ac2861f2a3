"""``python -m services.tools.worker``: the process of one module of functions.

The stage starts one for each module. It reads calls from the pipe that is its standard input when
it starts, and writes its offer and the functions' results to a descriptor of its own, a JSON object
per line. It says when a call begins. Until then the stage can withdraw the call and give it to
another process, also while a function holds up the event loop: a thread reads the pipe. The
functions have an empty standard input. The text that a function prints goes to the stage's log.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import json
import os
import resource
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from services.tools import api, functions, leash, outputs
from services.tools.functions import Function
from shared.command_line import Parser

#: A function must not slow the conversation down: it gets the processor when no stage wants it.
NICE = 19


class _Withdrawn(Exception):
    """Raised when a call that was about to begin had been withdrawn."""


class Worker:
    """Runs the functions of one module."""

    def __init__(self, calls: BinaryIO, out: int, parallel: int, output_limit: int) -> None:
        self._calls = calls
        self._out = out
        self._output_limit = output_limit
        self._writing = threading.Lock()
        self._functions: dict[str, Function] = {}
        self._threads = ThreadPoolExecutor(parallel, "function")
        self._running: set[asyncio.Task[None]] = set()
        self._tasks: dict[str, asyncio.Future[Any]] = {}  # the coroutines that run
        self._waiting: set[str] = set()  # the calls that have not begun
        self._claiming = threading.Lock()  # for _waiting

    def load(self, name: str) -> bool:
        """Import the module and tell the stage its functions. Return whether that worked."""
        try:
            module = importlib.import_module(functions.checked_name(name))
            found, faults = functions.offered(module)
        except BaseException as error:  # noqa: BLE001 - a module can raise SystemExit as well
            # The libraries that check types write several lines.
            self.send(failed=" ".join(f"{type(error).__name__}: {error}".split()))
            return False
        self._functions = {function.name: function for function in found}
        tools = [
            {"name": f.name, "description": f.description, "parameters": f.parameters}
            for f in found
        ]
        self.send(tools=tools, faults=faults)
        return True

    def send(self, **fields: Any) -> None:
        """Write one object for the stage."""
        try:
            line = msgspec.json.encode(fields) + b"\n"
        except UnicodeEncodeError:
            # A half character, as the name of a file or the message of an error can have it.
            line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._writing:
            while line:
                line = line[os.write(self._out, line) :]

    async def serve(self) -> None:
        """Run calls until the stage closes the pipe that they come through."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in self._calls:
                asked = msgspec.json.decode(line)
                if (call_id := asked.get("withdraw")) is not None:
                    if self._claim(call_id):
                        self.send(withdrawn=call_id)
                elif (call_id := asked.get("cancel")) is not None:
                    if self._claim(call_id):
                        self.send(id=call_id, ok=False, text="cancelled")
                    else:
                        loop.call_soon_threadsafe(self._cancel, call_id)
                else:
                    with self._claiming:
                        self._waiting.add(asked["id"])
                    loop.call_soon_threadsafe(self._start, asked)
            # End even while functions run: the stage has ended, or wants this process to end.
            os._exit(0)

        threading.Thread(target=read, daemon=True).start()
        await loop.create_future()  # for ever: the thread ends the process

    def _claim(self, call_id: str) -> bool:
        """Take a call out of those that wait. Return False if it has begun, or was withdrawn."""
        with self._claiming:
            if call_id not in self._waiting:
                return False
            self._waiting.remove(call_id)
            return True

    def _begin(self, call_id: str) -> None:
        """Say that a call begins. Raises _Withdrawn."""
        if not self._claim(call_id):
            raise _Withdrawn
        self.send(begun=call_id)

    def _start(self, call: dict[str, Any]) -> None:
        run = self._run(call["id"], call["name"], call["arguments"])
        task = asyncio.get_running_loop().create_task(run)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _cancel(self, call_id: str) -> None:
        if (task := self._tasks.get(call_id)) is not None:
            task.cancel()

    async def _run(self, call_id: str, name: str, text: str) -> None:
        try:
            function = self._functions[name]
            arguments = function.read(text)
            if function.is_async:
                # Only a coroutine can be cancelled. The stage ends the process of a function that
                # does not return.
                self._begin(call_id)
                value = function.call(**arguments)
            else:
                context = contextvars.copy_context()

                def call() -> Any:
                    self._begin(call_id)  # here: threads that do not return can hold it up
                    try:
                        return context.run(function.call, **arguments)
                    except StopIteration:
                        # A future takes any exception but this one.
                        raise RuntimeError("StopIteration: there is no next one") from None

                value = await asyncio.get_running_loop().run_in_executor(self._threads, call)
            if inspect.isawaitable(value):  # a decorator can hide that a function is async
                self._tasks[call_id] = asyncio.ensure_future(value)
                value = await self._tasks[call_id]
            # Cut here, because the stage reads no line of any length.
            output = outputs.cut(functions.output(value), self._output_limit)
            self.send(id=call_id, ok=True, text=output.text, images=output.images)
        except _Withdrawn:
            pass
        except functions.BadArguments as error:
            self.send(id=call_id, ok=False, text=str(error)[: self._output_limit])
        except asyncio.CancelledError:
            self.send(id=call_id, ok=False, text="cancelled")
        except BaseException as error:  # noqa: BLE001 - whatever a person's function raises
            said = f"{type(error).__name__}: {error}"[: self._output_limit]
            last = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{name}: {said} ({last.filename}, line {last.lineno})", file=sys.stderr)
            self.send(id=call_id, ok=False, text=said)
        finally:
            self._tasks.pop(call_id, None)


def _take_input() -> BinaryIO:
    """Return the pipe with the calls, and leave an empty standard input in its place.

    A function that reads standard input, or starts a program that does, must get no call.
    """
    calls = os.fdopen(os.dup(0), "rb")  # a program that a function starts does not inherit it
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return calls


def _limit(memory_mb: int) -> None:
    """Give this process the lowest priority and limited memory; let the kernel kill it first."""
    os.nice(NICE)
    with suppress(OSError, ValueError):  # macOS has no limit of the address space
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> int:
    """Run the functions of a module; return the exit code."""
    parser = Parser(prog="python -m services.tools.worker")
    parser.add_argument("module")
    parser.add_argument("--out", type=int, required=True)
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--output-limit", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    arguments = parser.parse_args()
    leash.guard()
    # Ctrl-C in a terminal is for the stage, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(arguments.memory_mb)
    sys.path[:0] = arguments.path
    os.set_inheritable(arguments.out, False)
    worker = Worker(_take_input(), arguments.out, arguments.parallel, arguments.output_limit)
    api.connect(lambda text: worker.send(say=text[: arguments.output_limit]))
    if not worker.load(arguments.module):
        return 1
    asyncio.run(worker.serve())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
