"""The process of a module: a function that holds it up does not hold up the other functions."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.tools.module import HELD_UP_S, Module
from services.tools.source import CallFailed
from tests.support import asynchronous

pytestmark = pytest.mark.process

MODULE = '''
import os, subprocess, time

runs = []

async def block(until: str) -> str:
    """Hold up the event loop until a file exists, as a beginner's async function does."""
    while not os.path.exists(until):
        time.sleep(0.02)
    return "blocked"

def spin(until: str) -> str:
    """Compute in a thread until a file exists."""
    while not os.path.exists(until):
        pass
    return "spun"

def hidden() -> str:
    """Be async, but behind a decorator that is not."""
    async def inner() -> str:
        return "awaited"
    return inner()

def last() -> str:
    """Ask an iterator for more than it has."""
    return next(iter([]))

def ask() -> str:
    """Ask somebody at a keyboard that is not there."""
    return input("Who is there? ")

def read() -> str:
    """Run a program that reads its standard input to the end, as ssh and ffmpeg do."""
    return subprocess.run(["cat"], capture_output=True, text=True).stdout + "nothing"

def half(fail: bool) -> str:
    """Return, or raise, a text with half a character, as the name of a file can have it."""
    if fail:
        raise OSError("half \\udcff")
    return "half \\udcff"

def long(size: int, fail: bool) -> str:
    """Return, or raise, a long text."""
    if fail:
        raise OSError("x" * size)
    return "x" * size

def hello() -> list:
    """Say where this runs, and how often it has."""
    runs.append(1)
    return [os.getpid(), len(runs)]
'''


def made(path: Path, changed: Callable[[], None], say: Callable[[str], None]) -> Module:
    """Return the module, which is not running yet."""
    (path / "held_up.py").write_text(MODULE)
    return Module(
        "held_up",
        [str(path)],
        memory_mb=1024,
        output_limit=8000,
        parallel=4,
        changed=changed,
        say=say,
        log=say,
    )


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[tuple[Module, list[str]]]:
    """Run the module; yield it and what it logs."""
    said: list[str] = []
    known = asyncio.Event()
    module = made(path, known.set, said.append)
    async with asynchronous.running(module.run()):
        async with asyncio.timeout(60):
            await known.wait()
        yield module, said


async def call(module: Module, name: str, arguments: str = "{}") -> tuple[str, float]:
    """Call a function; return its output, and how long that took, s."""
    tool = next(each for each in module.tools if each.name == name)
    began = time.monotonic()
    output = await module.call(tool, arguments, f"call {name} {began}")
    return output.text, time.monotonic() - began


async def begun(module: Module) -> None:
    """Wait until a function runs in the process that takes calls."""
    while not module.busy:  # noqa: ASYNC110 - nothing says so but the module
        await asyncio.sleep(0.02)


def test_a_call_does_not_wait_for_a_function_that_holds_up_its_process(tmp_path: Path) -> None:
    until = tmp_path / "until"

    async def conversation() -> Any:
        async with running(tmp_path) as (module, said):
            first, _ = await call(module, "hello")
            blocked = asyncio.create_task(call(module, "block", f'{{"until":"{until}"}}'))
            await begun(module)
            second, took_s = await call(module, "hello")
            until.touch()
            text, _ = await blocked  # The function itself goes on, and returns.
            third, _ = await call(module, "hello")
            return first, second, took_s, text, third, list(said)

    first, second, took_s, text, third, said = asyncio.run(conversation())
    assert took_s >= HELD_UP_S
    assert text == "blocked"
    assert first.split(",")[0] != second.split(",")[0] == third.split(",")[0]
    # It ran once, in the new process, which all calls from then on have in common.
    assert second.endswith(",1]")
    assert third.endswith(",2]")
    assert said == ["held_up: a function holds up its process: the next calls get another process"]


def test_a_function_that_computes_in_a_thread_leaves_the_process_to_the_others(
    tmp_path: Path,
) -> None:
    until = tmp_path / "until"

    async def conversation() -> Any:
        async with running(tmp_path) as (module, _):
            spun = asyncio.create_task(call(module, "spin", f'{{"until":"{until}"}}'))
            await begun(module)
            await call(module, "hello")
            until.touch()
            return (await spun)[0]

    assert asyncio.run(conversation()) == "spun"


def test_a_call_that_waits_when_its_process_is_replaced_goes_to_the_next_one(
    tmp_path: Path,
) -> None:
    until = tmp_path / "never"

    async def conversation() -> Any:
        async with running(tmp_path) as (module, said):
            blocked = asyncio.create_task(call(module, "block", f'{{"until":"{until}"}}'))
            await begun(module)
            waiting = asyncio.create_task(call(module, "hello"))
            await asyncio.sleep(0)  # the call is with the process that is held up
            blocked.cancel()  # the engine's limit of the time
            return (await waiting)[0], list(said)

    text, said = asyncio.run(conversation())
    assert text.endswith(",1]")
    assert said == ["held_up: a function does not return: the next calls get another process"]


def test_odd_outcomes_of_functions_are_outputs(tmp_path: Path) -> None:
    async def conversation() -> list[str]:
        async with running(tmp_path) as (module, _):
            calls = (("hidden", "{}"), ("half", '{"fail":false}'), ("hello", "{}"))
            texts = [(await call(module, *each))[0] for each in calls]
            for each in (("last", "{}"), ("half", '{"fail":true}')):
                with pytest.raises(CallFailed) as raised:
                    await asyncio.wait_for(call(module, *each), 10)
                texts.append(str(raised.value))
            return texts

    hidden, half, hello, last, failed = asyncio.run(conversation())
    assert (hidden, half, failed) == ("awaited", "half ?", "OSError: half ?")
    assert hello.endswith(",1]")
    assert "StopIteration" in last


def test_a_function_that_reads_standard_input_takes_no_call(tmp_path: Path) -> None:
    async def conversation() -> tuple[str, str, str]:
        async with running(tmp_path) as (module, _):
            nothing, _ = await asyncio.wait_for(call(module, "read"), 10)
            with pytest.raises(CallFailed) as raised:
                await asyncio.wait_for(call(module, "ask"), 10)
            hello, _ = await asyncio.wait_for(call(module, "hello"), 10)
            return nothing, str(raised.value), hello

    nothing, asked, hello = asyncio.run(conversation())
    assert nothing == "nothing"
    assert asked.startswith("EOFError")
    assert hello.endswith(",1]")


def test_an_output_of_60_mb_is_cut_and_ends_no_process(tmp_path: Path) -> None:
    async def conversation() -> Any:
        async with running(tmp_path) as (module, said):
            first, _ = await call(module, "hello")
            text, _ = await call(module, "long", '{"size":60000000,"fail":false}')
            with pytest.raises(CallFailed) as failed:
                await call(module, "long", '{"size":60000000,"fail":true}')
            second, _ = await call(module, "hello")
            return first, text, str(failed.value), second, list(said)

    first, text, failed, second, said = asyncio.run(conversation())
    assert text.endswith(
        "x\n[cut: the output has 60000000 characters, of which the first 7900 are here]"
    )
    assert failed.startswith("OSError: xxx")
    assert max(len(text), len(failed)) <= 8000
    # the same process, which has run the function twice
    assert second == first.replace("1]", "2]")
    assert not [line for line in said if "ended" in line]


def test_a_process_that_is_just_being_started_ends_with_the_module(tmp_path: Path) -> None:
    async def conversation() -> int | None:
        module = made(tmp_path, lambda: None, lambda _: None)
        async with asynchronous.running(module.run()):
            while not module._workers:  # noqa: ASYNC110 - nothing says so but the module
                await asyncio.sleep(0)
            [worker] = module._workers
        return worker.process.returncode

    assert asyncio.run(conversation()) == -signal.SIGKILL
