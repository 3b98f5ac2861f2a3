"""Functions that the model's server runs itself, on an MCP server, on real processes.

The person writes, and the emulator calls the function whose name the line has. All functions but
those in FREE need the person's approval, which comes through the door.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands import door
from commands.console.model import Model
from commands.screen.display import Display
from commands.screen.writing import Pipe
from shared import bus, messages, registry
from tests.support.openai_types import client_events, unknown_fields
from tests.support.pipeline import UNHELD, Keeper, Pipeline, settled

pytestmark = pytest.mark.process

FREE = ["docs_broken", "docs_slow"]


@dataclass
class Talk:
    """The conversation."""

    pipeline: Pipeline
    journal: Path

    def command(self, **command: Any) -> None:
        """Send a command through the door, as ``bargein control`` does."""
        done, outcome = door.send(self.pipeline.bus_directory, command)
        assert done, outcome

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the server's own account."""
        lines = self.journal.read_text("utf-8").splitlines()
        return [entry for line in lines if (entry := json.loads(line))["kind"] in kinds]

    def after_denial(self) -> list[dict[str, Any]]:
        """Return the answers of the assistant since the person denied a call."""
        entries = self.entries("create", "reply")
        denied = [n for n, entry in enumerate(entries) if entry.get("approve") is False]
        return entries[denied[0] + 1 :] if denied else []

    def running(self, name: str, state: str) -> messages.ToolRun:
        """Wait until tools lists a call; return it."""
        told = self.pipeline.bus.wait_for(
            messages.ToolState,
            lambda s: any((run.name, run.state) == (name, state) for run in s.calls),
        ).message
        return next(run for run in told.calls if run.name == name)

    def ran(self, name: str) -> bus.Delivery[messages.ToolResult]:
        """Wait until a function has ended."""
        return self.pipeline.bus.wait_for(
            messages.ToolResult, lambda r: r.what == "outcome" and r.name == name
        )

    def said(self, words: str) -> None:
        """Wait until the assistant has said these words."""
        self.pipeline.bus.wait_for(messages.Transcript, lambda t: t.final and words in t.text)


@pytest.fixture(scope="module")
def talk(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """Hold a conversation whose server has listed the functions of an MCP server."""
    journal = tmp_path_factory.mktemp("mcp") / "journal.jsonl"
    with Pipeline(kept, UNHELD) as pipeline:
        docs = pipeline.python("tests.support.functions_server", "http", "docs", "more")
        docs.codes = {-signal.SIGTERM}
        address = docs.wait_line("listens at").split()[-1]
        asks = f"{{never = {{tool_names = {json.dumps(FREE)}}}}}"
        pipeline.settings |= {
            "session.mcp": f'[{{label = "docs", url = "{address}", require_approval = {asks}}}]'
        }
        pipeline.emulator("--call", "20", "--reply", "clip:acknowledge", "--journal", str(journal))
        pipeline.all_up("tools", "monitor", "uplink", "downlink", "playback")
        pipeline.up("link")
        pipeline.meet()
        made = Talk(pipeline, journal)
        assert settled(lambda: made.entries("mcp_list"), 20)
        yield made


def test_the_conversation(talk: Talk) -> None:
    # A call that waits for the person, who approves it.
    talk.command(command="type", text="Call docs_lookup.")
    run = talk.running("docs_lookup", "asking")
    assert run.summary == "docs_lookup() at docs"
    assert not talk.entries("mcp_call")
    talk.command(command="approve", id=run.number)
    assert talk.ran("docs_lookup").message.ok
    talk.said("docs says that tea is in the cupboard.")

    # One that the person denies: it is not run, and the assistant may say so.
    talk.command(command="type", text="Call docs_picture.")
    talk.command(command="deny", id=talk.running("docs_picture", "asking").number)
    assert settled(lambda: [e["kind"] for e in talk.after_denial()][-1:] == ["reply"], 20)

    # One that fails.
    talk.command(command="type", text="Call docs_broken.")
    assert not talk.ran("docs_broken").message.ok
    talk.said("there is no tea")

    # One that is interrupted: it goes on, and is answered afterwards.
    talk.command(command="type", text="Call docs_slow.")
    talk.running("docs_slow", "running")
    talk.command(command="type", text="Meanwhile, tell me something.")
    heard = talk.pipeline.bus.heard
    begun = len(heard)
    talk.pipeline.bus.wait_for(messages.Heard, lambda h: h.playing, since=begun)
    talk.command(command="interrupt")
    flush = talk.pipeline.bus.wait_for(messages.Flush, since=begun)
    assert flush.stamp.t < talk.ran("docs_slow").stamp.t
    talk.said("slow is ready")

    called = [entry["name"] for entry in talk.entries("mcp_call")]
    assert called == ["docs_lookup", "docs_broken", "docs_slow"]
    assert not talk.entries("error")


def test_the_screen_and_the_console_show_each_call_and_its_outcome(talk: Talk) -> None:
    """Runs after the conversation, on its messages."""
    results = talk.pipeline.bus.all(messages.ToolResult)
    assert [(r.name, r.ok) for r in results if r.what == "outcome"] == [
        ("docs_lookup", True),
        ("docs_broken", False),
        ("docs_slow", True),
    ]
    display = Display(Pipe(), ready="", transcribes=True)
    model = Model()
    shown = ""
    for delivery in talk.pipeline.bus.heard:
        topic = registry.BY_TYPE.get(type(delivery.message))
        if topic is not None:
            shown += display.take(topic, delivery.message, delivery.stamp.t / 1e9)
            model.take(topic, delivery.message, delivery.stamp.t / 1e9)
    assert "docs_lookup() at docs waits for your approval: bargein control" in shown
    assert "(function docs_lookup: done)" in shown
    assert "(function docs_broken: failed)" in shown
    assert "(function docs_slow: done)" in shown
    functions = [e.text for e in model.entries.values() if e.who == "function"]
    assert [text.split(" after")[0] for text in functions] == [
        "docs_lookup() at docs: approved",
        "docs_lookup() at docs: done",
        "docs_picture() at docs: denied",
        "docs_broken() at docs: failed",
        "docs_slow() at docs: done",
    ]
    assert not model.calls


def test_the_types_of_the_openai_package_accept_everything(talk: Talk) -> None:
    sent = [json.loads(e.payload) for e in talk.pipeline.bus.all(messages.ClientEvent)]
    kinds = {event["type"] for event in sent}
    assert "conversation.item.create" in kinds
    for event in sent:
        parsed = client_events()[event["type"]].model_validate(event, strict=True)
        assert unknown_fields(parsed) == []
