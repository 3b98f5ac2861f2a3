"""The tools stage alone: approvals, cancelled calls, limits, and sources that fail."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psutil
import pytest

from shared import bus, codec, messages
from shared.poller import Poller
from tests.support.pipeline import PATIENCE_S, ROOT, UNHELD, Child, Keeper, Pipeline, settled

pytestmark = pytest.mark.process

MODULE = '''
import asyncio, os, pathlib
from services.tools.api import say

def light(room: str = "hall") -> str:
    """Switch a light on."""
    say(f"the light in the {room} is about to change")
    return f"{room} is lit"

async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"

async def wait_long(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited long"

def eat() -> int:
    """Eat memory."""
    return len(bytearray(10**11))

def environment() -> list[str]:
    """List the variables of the environment."""
    return sorted(os.environ)

def talk() -> str:
    """Say a lot."""
    return "x" * 100_000
'''


@dataclass
class Bench:
    """The stage, and a downlink and a monitor in its place."""

    pipeline: Pipeline
    tools: Child
    downlink: bus.Publisher
    monitor: bus.Publisher
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def call(self, name: str, action: Any = "run", spoke_ns: int = 0, **arguments: Any) -> str:
        """Call a function; return the call's id."""
        call_id = f"call_{next(self._numbers)}"
        self.send(call_id, name, action, json.dumps(arguments), spoke_ns)
        return call_id

    def send(
        self,
        call_id: str,
        name: str,
        action: Any = "run",
        arguments: str = "{}",
        spoke_ns: int = 0,
    ) -> None:
        self.downlink.publish(
            messages.ToolCall(
                session=1,
                response_id="resp_1",
                call_id=call_id,
                name=name,
                action=action,
                server="docs" if action == "ask" else "",
                spoke_ns=spoke_ns,
                payload=arguments.encode(),
            )
        )

    def control(self, command: Any, number: str = "") -> None:
        self.monitor.publish(messages.Control(command=command, id=number))

    def result(self, call_id: str) -> tuple[bool, str]:
        """Return whether a call returned, and its output."""
        told = self.pipeline.bus.wait_for(
            messages.ToolResult, lambda r: r.call_id == call_id
        ).message
        return told.ok, codec.read_output(told.payload).text

    def asks(self, name: str, **arguments: Any) -> str:
        """Call a function, and wait until the call waits for an approval; return the call's id."""
        call_id = self.call(name, **arguments)
        self.pipeline.bus.wait_for(
            messages.ToolState, lambda s: call_id in [c.call_id for c in s.calls]
        )
        return call_id

    def run(self, name: str, **arguments: Any) -> tuple[bool, str]:
        return self.result(self.call(name, **arguments))

    def answer(self, number: str, *, approved: bool, spoke: bool = True) -> tuple[bool, str]:
        """Pass an answer on, as the model does. ``spoke``: the person has just spoken."""
        spoke_ns = time.monotonic_ns() if spoke else 0
        call_id = self.call("answer_approval", spoke_ns=spoke_ns, number=number, approved=approved)
        return self.result(call_id)

    def state(self, predicate: Callable[[list[tuple[str, str]]], object]) -> messages.ToolState:
        """Wait for a state; return it."""
        return self.pipeline.bus.wait_for(
            messages.ToolState,
            lambda s: predicate([(call.name, call.state) for call in s.calls]),
        ).message

    def notices(self, words: str) -> None:
        """Wait for a notice with these words."""
        self.pipeline.bus.wait_for(
            messages.ToolResult,
            lambda r: r.what == "notice" and words in codec.read_output(r.payload).text,
        )


def runs(process: psutil.Process) -> bool:
    """Return whether a process, which is no child of the test's, has not ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def met(publisher: bus.Publisher, topic: str) -> None:
    """Wait until tools consumes a topic."""
    poller = Poller()
    for socket in publisher.sockets:
        poller.watch(socket)

    def consumed() -> bool:
        poller.wait(0.02)
        publisher.welcome()
        return topic not in publisher.held

    assert settled(consumed)


@pytest.fixture(scope="module")
def bench(kept: Keeper) -> Iterator[Bench]:
    """Start the stage with a module, a module that is missing, and two servers."""
    with Pipeline(kept, UNHELD) as pipeline:
        (pipeline.directory / "my_tools.py").write_text(MODULE)
        (pipeline.directory / "lines.py").write_text('raise TypeError("two\\nlines")')
        arguments = ["-m", "tests.support.functions_server", "stdio", "files"]
        files = {"command": sys.executable, "args": arguments, "cwd": str(ROOT)}
        absent = {"command": "no-such-command"}
        servers = {"files": files, "absent": absent, "gone": {"url": "http://127.0.0.1:9/mcp"}}
        (pipeline.directory / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        downlink = bus.Publisher("downlink", pipeline.bus_directory)
        monitor = bus.Publisher("monitor", pipeline.bus_directory)
        tools = pipeline.stage(
            "tools",
            settings={
                "tools.modules": '["my_tools", "missing", "lines"]',
                "tools.ask": '["light", "wait_long", "files_files_picture"]',
                "tools.parallel": 2,
                "tools.timeout_s": 5,
                "tools.output_limit": 1000,
            },
            env={"OPENAI_API_KEY": "sk-secret"},
        )
        pipeline.bus.wait_for(
            messages.ToolOffer, lambda offer: "files_lookup" in offer.names, patience=60
        )
        pipeline.bus.join()
        met(downlink, "tool.call")
        met(monitor, "control")
        yield Bench(pipeline, tools, downlink, monitor)
        downlink.close()
        monitor.close()


def test_a_source_that_fails_is_one_line_and_the_others_go_on(bench: Bench) -> None:
    missing = "missing cannot be imported: ModuleNotFoundError"
    # Nobody answers at the address of the server "gone". On a busy machine that takes a moment.
    health = bench.pipeline.bus.health(
        "tools",
        lambda h: missing in h.state and "gone: no connection" in h.state,
    )
    # Each is a warning in the log, so the terminal of a conversation shows it.
    line = bench.tools.wait_line(missing)
    assert " W " in line
    assert line.endswith("correct it, and run: bargein restart tools")
    bench.tools.wait_line("lines cannot be imported: TypeError: two lines; correct it")
    assert " W " in bench.tools.wait_line("there is no command 'no-such-command'")
    assert len(bench.tools.matching(missing)) == 1
    assert not health.ok
    assert bench.run("files_lookup", word="salt") == (
        True,
        "files says that salt is in the cupboard.",
    )


def test_a_function_has_no_key(bench: Bench) -> None:
    ok, text = bench.run("environment")
    assert ok
    assert "PATH" in text
    assert "OPENAI_API_KEY" not in text


def test_a_function_that_eats_memory_gets_no_more(bench: Bench) -> None:
    assert bench.run("eat") == (False, "Error: MemoryError: ")


def test_a_long_output_is_cut(bench: Bench) -> None:
    ok, text = bench.run("talk")
    assert ok
    assert len(text) <= 1000
    assert "the output has 100000 characters" in text


def test_a_call_id_is_run_once(bench: Bench) -> None:
    for _ in range(2):
        bench.send("twice", "environment")
    bench.result("twice")
    bench.run("environment")
    found = [r for r in bench.pipeline.bus.all(messages.ToolResult) if r.call_id == "twice"]
    assert len(found) == 1


def test_two_run_at_a_time_and_a_call_can_be_cancelled(bench: Bench) -> None:
    first, second, third = (bench.call("wait", seconds=1.5) for _ in range(3))
    bench.state(lambda s: [state for _, state in s] == ["running", "running", "queued"])
    for call_id in (third, first):
        bench.send(call_id, "", "cancel")
        ok, text = bench.result(call_id)
        assert not ok
        assert "interrupted" in text
    assert bench.result(second) == (True, "waited")


def test_a_function_is_asked_about_by_its_servers_name_as_well(bench: Bench) -> None:
    assert "needs the person's approval" in bench.run("files_picture")[1]
    number = bench.state(lambda s: ("files_picture", "asking") in s).calls[-1].number
    assert "has denied" in bench.answer(number, approved=False)[1]


def test_the_model_passes_on_the_persons_approval(bench: Bench) -> None:
    ok, text = bench.run("light", room="kitchen")
    assert ok
    assert 'Ask the person whether you may run light(room="kitchen")' in text
    number = bench.state(lambda s: ("light", "asking") in s).calls[-1].number
    ok, text = bench.answer("77", approved=True)
    assert (ok, "give one of these numbers" in text) == (False, True)
    ok, text = bench.answer(number, approved=True, spoke=False)
    assert (ok, "the person has not answered yet" in text) == (False, True)
    assert bench.answer(number, approved=True) == (True, "kitchen is lit")
    ok, text = bench.answer(number, approved=True)
    assert (ok, "nothing waits" in text) == (False, True)
    # A function speaks without being called.
    bench.notices("A function reports: the light in the kitchen is about to change")


def test_a_button_approves_or_denies_and_viewers_see_what_came_of_it(bench: Bench) -> None:
    for command, said in (("approve", "returned: garage is lit"), ("deny", "has denied light")):
        call_id = bench.asks("light", room="garage")
        bench.control(command, call_id)
        bench.notices(said)
        told = [r for r in bench.pipeline.bus.all(messages.ToolResult) if r.call_id == call_id]
        kinds = [(r.what, r.ok, codec.read_output(r.payload).text) for r in told[1:]]
        if command == "approve":
            assert kinds == [("approval", True, ""), ("outcome", True, "garage is lit")]
        else:
            assert kinds == [("approval", False, "")]


def test_two_calls_of_a_function_with_the_same_arguments_are_approved_one_by_one(
    bench: Bench,
) -> None:
    calls = [bench.asks("wait_long", seconds=1.0) for _ in range(2)]
    for call_id in calls:
        bench.control("approve", call_id)
    bench.state(lambda s: s == [("wait_long", "running")] * 2)
    for call_id in calls:
        told = bench.pipeline.bus.wait_for(
            messages.ToolResult,
            lambda r: r.call_id == call_id and r.what == "outcome",  # noqa: B023 - used at once
        ).message
        assert codec.read_output(told.payload).text == "waited long"
    bench.state(lambda s: s == [])
    notices = [r for r in bench.pipeline.bus.all(messages.ToolResult) if r.what == "notice"]
    said = [codec.read_output(r.payload).text for r in notices]
    assert len([text for text in said if "returned: waited long" in text]) == 2


def test_the_server_gets_the_persons_answer(bench: Bench) -> None:
    bench.send("mcpr_1", "search", "ask", '{"word":"tea"}')
    bench.notices('search(word="tea") at docs waits for approval')
    number = bench.state(lambda s: ("search", "asking") in s).calls[-1].number
    assert bench.answer(number, approved=False) == (True, "Passed on.")
    told = bench.pipeline.bus.wait_for(
        messages.ToolResult, lambda r: r.what == "approval" and r.server == "docs"
    ).message
    assert (told.call_id, told.ok) == ("mcpr_1", False)


def test_a_server_that_dies_is_started_again(bench: Bench) -> None:
    [server] = [
        child
        for child in psutil.Process(bench.tools.pid).children()
        if "tests.support.functions_server" in child.cmdline()
    ]
    os.kill(server.pid, signal.SIGKILL)
    ok, text = bench.run("files_lookup")
    assert not ok
    assert "the MCP server files" in text or "there is no function" in text
    bench.pipeline.bus.wait_for(
        messages.ToolOffer, lambda o: "files_lookup" not in o.names and "light" in o.names
    )
    since = len(bench.pipeline.bus.heard)
    bench.pipeline.bus.wait_for(
        messages.ToolOffer, lambda o: "files_lookup" in o.names, since=since, patience=30
    )
    assert bench.run("files_lookup")[0]


def test_a_killed_stage_leaves_no_process_behind(bench: Bench) -> None:
    """This test ends the shared stage."""
    began = psutil.Process(bench.tools.pid).children(recursive=True)
    assert len(began) >= 2  # the module's process and the server's
    bench.tools.codes = {-signal.SIGKILL}
    bench.tools.process.kill()
    assert settled(lambda: not [each for each in began if runs(each)], PATIENCE_S)
