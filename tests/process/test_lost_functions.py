"""CallOutputs whose process dies, or whose connection is lost: each is run once, and answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.uplink.call_outputs import LOST
from shared import bus, codec, messages
from tests.support.pipeline import UNHELD, Child, Keeper, Pipeline, settled

pytestmark = pytest.mark.process

MODULE = '''
import asyncio, pathlib

async def wait(seconds: float = {seconds}) -> str:
    """Wait."""
    with pathlib.Path("{runs}").open("a") as runs:
        runs.write("run\\n")
    await asyncio.sleep(seconds)
    return "waited long enough"
'''


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Return a bus on which the tests only observe."""
    with Pipeline(kept, UNHELD) as made:
        yield made


@pytest.fixture
def monitor(pipeline: Pipeline) -> Iterator[bus.Publisher]:
    """Return the publisher of a person's commands."""
    made = bus.Publisher("monitor", pipeline.bus_directory)
    yield made
    made.close()


def begin(
    pipeline: Pipeline, journal: Path, seconds: float, state: str = "running"
) -> dict[str, Child]:
    """Begin a conversation in which the greeting calls a function. Return the stages."""
    runs = pipeline.directory / "runs"
    module = MODULE.format(seconds=seconds, runs=runs)
    (pipeline.directory / "my_tools.py").write_text(module)
    pipeline.settings |= {
        "tools.modules": '["my_tools"]',
        "session.greeting": "Call the function wait.",
    }
    pipeline.emulator("--call", "0", "--journal", str(journal))
    stages = pipeline.all_up("tools", "uplink", "downlink", "playback")
    pipeline.bus.wait_for(messages.ToolOffer, lambda offer: "wait" in offer.names)
    pipeline.bus.join()
    stages |= pipeline.all_up("link")
    pipeline.bus.wait_for(
        messages.ToolState, lambda s: any(call.state == state for call in s.calls)
    )
    if state == "running":
        assert settled((pipeline.directory / "runs").exists)
    # The next session's uplink learns from the history that the conversation has begun.
    pipeline.bus.wait_for(messages.History, lambda history: b"wait" in history.payload)
    return stages


def journal_of(path: Path) -> list[dict[str, Any]]:
    """Return the server's own account: what it said and called, and what a client created."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def outputs(entries: list[dict[str, Any]]) -> list[str]:
    """Return the outputs that the server was given."""
    return [e["output"] for e in entries if e.get("type") == "function_call_output"]


def replies(entries: list[dict[str, Any]]) -> list[str]:
    """Return what the server called and said."""
    said = [entry for entry in entries if entry["kind"] == "reply"]
    return [entry.get("calls") or entry["says"] for entry in said]


def heard(pipeline: Pipeline, words: str) -> None:
    """Wait for the final transcript of an answer that quotes a function's output."""
    pipeline.bus.wait_for(messages.Transcript, lambda t: t.final and words in t.text)


def test_a_call_whose_process_dies_is_answered_with_an_error(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    stages = begin(pipeline, journal, 60)
    stages["tools"].codes = {-9}
    stages["tools"].process.kill()
    heard(pipeline, LOST[:100])
    assert outputs(journal_of(journal)) == [LOST]
    assert replies(journal_of(journal)) == ["wait", "function"]
    # The next one runs nothing again, and the conversation has its functions again.
    since = len(pipeline.bus.heard)
    pipeline.up("tools")
    pipeline.bus.wait_for(messages.ToolOffer, lambda offer: offer.names, since=since)
    assert (pipeline.directory / "runs").read_text() == "run\n"
    assert outputs(journal_of(journal)) == [LOST]


def test_a_call_survives_a_new_connection_and_a_new_uplink(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    stages = begin(pipeline, journal, 1.5)
    first = {entry["session"] for entry in journal_of(journal)}
    for name in ("link", "uplink"):
        stages[name].codes = {-9}
        stages[name].process.kill()
    pipeline.all_up("link", "uplink")
    heard(pipeline, "waited long enough")
    entries = journal_of(journal)
    second = [entry for entry in entries if entry["session"] not in first]
    assert [e["name"] for e in second if e.get("type") == "function_call"] == ["wait"]
    assert outputs(entries) == outputs(second) == ["waited long enough"]
    assert replies(second) == ["function"]
    assert (pipeline.directory / "runs").read_text() == "run\n"


def test_a_function_that_asks_first_runs_when_a_button_approves_it(
    pipeline: Pipeline, monitor: bus.Publisher, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    pipeline.settings["tools.ask"] = '["w*"]'
    begin(pipeline, journal, 0.1, state="asking")
    heard(pipeline, "this needs the person's approval")
    assert not (pipeline.directory / "runs").exists()
    monitor.welcome()
    monitor.publish(messages.Control(command="approve"))
    pipeline.bus.wait_for(messages.ToolResult, lambda r: r.what == "notice")
    assert settled(lambda: len(replies(journal_of(journal))) == 3)
    [notice] = [e for e in journal_of(journal) if e.get("role") == "system"]
    assert notice["text"].startswith("wait(), which the person has approved, returned: waited")
    assert (pipeline.directory / "runs").read_text() == "run\n"


def test_a_line_is_said_while_a_function_runs_and_an_interruption_cancels_it(
    pipeline: Pipeline, monitor: bus.Publisher, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    pipeline.settings |= {
        "tools.filler": "Say that it takes a moment.",
        "tools.filler_after_s": 0.5,
        "tools.on_interrupt": "cancel",
    }
    begin(pipeline, journal, 60)
    assert settled(lambda: len(replies(journal_of(journal))) == 2)
    said = journal_of(journal)[-1]
    assert (said["kind"], said["out_of_band"]) == ("reply", True)
    monitor.welcome()
    monitor.publish(messages.Control(command="interrupt"))
    told = pipeline.bus.wait_for(messages.ToolResult, lambda r: not r.ok).message
    assert "interrupted" in codec.read_output(told.payload).text
    assert settled(lambda: outputs(journal_of(journal)))
    # Nobody asks for an answer to a call that was cancelled.
    pipeline.bus.wait_for(messages.ToolState, lambda s: not s.calls, since=len(pipeline.bus.heard))
    assert len(replies(journal_of(journal))) == 2
