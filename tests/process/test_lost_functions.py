"""Calls whose process dies, or whose connection is lost: each is run once, and answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.uplink.calls import LOST
from shared import messages
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


def begin(pipeline: Pipeline, journal: Path, seconds: float) -> dict[str, Child]:
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
    pipeline.bus.wait_for(messages.ToolOffer, lambda offer: offer.names)
    pipeline.bus.join()
    stages |= pipeline.all_up("link")
    running(pipeline)
    return stages


def running(pipeline: Pipeline) -> None:
    """Wait until the function runs."""
    pipeline.bus.wait_for(
        messages.ToolState, lambda s: any(call.state == "running" for call in s.calls)
    )
    assert settled((pipeline.directory / "runs").exists)


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
