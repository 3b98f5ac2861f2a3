"""Functions in a conversation: a module of Python functions, and MCP servers over stdio and HTTP.

The conversation runs once, on real processes with the emulator as the server. The person speaks
seven times, and the emulator answers each turn with a call of the next function.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness import recordings
from shared import codec, messages
from shared.audio import pcm
from tests.support.openai_types import client_events, unknown_fields
from tests.support.pipeline import ROOT, UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

MODULE = '''
import asyncio, os

def hello(name: str = "Ada") -> str:
    """Greet somebody."""
    print("hello is called")
    return f"Hello {name}, it is noon."

async def slow() -> str:
    """Take a while."""
    await asyncio.sleep(1.3)
    return "slow is ready"

def odd() -> str:
    """Be refused by the server."""
    return ""

def spin() -> str:
    """Never return."""
    while True:
        pass

def leave() -> str:
    """End the process."""
    os._exit(7)
'''
#: When the person speaks, s: over the answer of ``hello``, and while ``slow`` runs.
SPEAKS = (0.5, 2.4, 3.9, 7.3, 9.4, 11.5, 13.6)
SPEECH_S, TIMEOUT_S = 0.6, 1.6
CALLED = ["hello", "slow", "spin", "leave", "files_lookup", "files_picture", "web_lookup"]


@dataclass
class Talk:
    """What the conversation left."""

    pipeline: Pipeline
    results: dict[str, messages.ToolResult]  # by the function's name
    sent: list[dict[str, Any]]  # what uplink sent, but for the microphone
    journal: list[dict[str, Any]]
    log: str  # of tools

    def text(self, name: str) -> str:
        """Return the output of a function."""
        return codec.read_output(self.results[name].payload).text

    def outputs(self) -> list[dict[str, Any]]:
        """Return the outputs that the server was sent."""
        items = [e["item"] for e in self.sent if e["type"] == "conversation.item.create"]
        return [item for item in items if item["type"] == "function_call_output"]


def microphone(path: Path) -> str:
    """Record the person. Return the setting for the device."""
    said = recordings.spoken(recordings.QUESTION)[: round(SPEECH_S * pcm.RATE)]
    heard = np.zeros(round((SPEAKS[-1] + 4) * pcm.RATE), np.int16)
    for at_s in SPEAKS:
        at = round(at_s * pcm.RATE)
        heard[at : at + len(said)] = said
    soundfile.write(path, heard, pcm.RATE, subtype="PCM_16")
    return f"file:{path}"


def servers(address: str) -> dict[str, Any]:
    """Return the file that names the servers."""
    arguments = ["-m", "tests.support.functions_server", "stdio", "files"]
    files = {"command": sys.executable, "args": arguments, "cwd": str(ROOT)}
    return {"mcpServers": {"files": files, "web": {"url": address}}}


@pytest.fixture(scope="module")
def talk(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """Run the conversation until the last function's answer is heard."""
    directory = tmp_path_factory.mktemp("functions")
    journal = directory / "journal.jsonl"
    with Pipeline(kept, UNHELD) as pipeline:
        web = pipeline.python("tests.support.functions_server", "http", "web")
        web.codes = {-signal.SIGTERM}
        (pipeline.directory / "my_tools.py").write_text(MODULE)
        (pipeline.directory / "mcp.json").write_text(
            json.dumps(servers(web.wait_line("listens at").split()[-1]))
        )
        pipeline.settings |= {
            "capture.device": microphone(directory / "person.wav"),
            "echo.enabled": False,
            "session.turn_detection.silence_duration_ms": 200,
            "session.turn_detection.prefix_padding_ms": 100,
            "tools.modules": '["my_tools"]',
            "tools.timeout_s": TIMEOUT_S,
        }
        options = ("--call-every", "1", "--call", "40", "--twist", "refuse-function")
        pipeline.emulator(*options, "--journal", str(journal))
        tools = pipeline.stage("tools")
        pipeline.all_up("echo", "vad", "uplink", "downlink", "playback")
        pipeline.bus.wait_for(
            messages.ToolOffer, lambda offer: "web_lookup" in offer.names, patience=60
        )
        # tools repeats the offer every second: uplink has it, too, before the session begins.
        since = len(pipeline.bus.heard)
        count = pipeline.bus.health("uplink", since=since).received["tool.offer"]
        pipeline.bus.health("uplink", lambda h: h.received["tool.offer"] > count, since=since)
        pipeline.up("link")
        pipeline.meet()
        pipeline.stage("capture")
        last = pipeline.bus.wait_for(
            messages.ToolResult, lambda r: r.name == CALLED[-1], patience=SPEAKS[-1] + 20
        )
        assert last.message.ok
        pipeline.bus.wait_for(messages.Transcript, lambda t: t.final and "web says" in t.text)
        sent = [json.loads(e.payload) for e in pipeline.bus.all(messages.ClientEvent)]
        yield Talk(
            pipeline,
            {r.name: r for r in pipeline.bus.all(messages.ToolResult)},
            [event for event in sent if event["type"] != "input_audio_buffer.append"],
            [json.loads(line) for line in journal.read_text("utf-8").splitlines()],
            tools.output,
        )


def test_each_question_leads_to_a_call_and_the_call_to_a_spoken_answer(talk: Talk) -> None:
    calls = talk.pipeline.bus.all(messages.ToolCall)
    assert [call.name for call in calls] == CALLED
    assert [r.name for r in talk.pipeline.bus.all(messages.ToolResult)] == CALLED
    # The server's own account: the person talks over most answers.
    said = [entry.get("transcript", "") for entry in talk.journal if entry["kind"] == "reply"]
    assert any("Hello Ada, it is noon." in text for text in said)
    assert any("files says that tea is in the cupboard." in text for text in said)
    assert any("web says that tea is in the cupboard." in text for text in said)


def test_a_function_that_the_server_refuses_costs_no_other(talk: Talk) -> None:
    health = talk.pipeline.bus.all(messages.Health, topic="uplink.health")[-1]
    assert health.state == "link is open; the server refuses the function 'odd'"
    assert not health.ok
    assert health.counters["functions_refused"] == 1


def test_each_call_gets_one_output(talk: Talk) -> None:
    calls = [call.call_id for call in talk.pipeline.bus.all(messages.ToolCall)]
    assert [item["call_id"] for item in talk.outputs()] == calls
    assert not [entry for entry in talk.journal if entry["kind"] == "error"]


def test_a_function_that_fails_is_an_output(talk: Talk) -> None:
    assert {name for name, result in talk.results.items() if not result.ok} == {"spin", "leave"}
    assert talk.text("spin") == f"Error: the function took longer than {TIMEOUT_S:g} s"
    assert talk.text("leave") == "Error: the function's process ended with code 7"
    # The module's process was replaced, and nobody else's.
    assert "hello is called" in talk.log
    assert talk.log.count("my_tools: a function does not return: the next calls get") == 1
    assert talk.log.count("its process ended with code 7") == 1


def test_a_picture_follows_its_output(talk: Talk) -> None:
    created = [e["item"] for e in talk.sent if e["type"] == "conversation.item.create"]
    [at] = [n for n, item in enumerate(created) if item.get("role") == "user"]
    shown = created[at]["content"][1]
    assert shown["type"] == "input_image"
    assert shown["image_url"].startswith("data:image/png;base64,iVBOR")
    assert created[at + 1]["type"] == "function_call_output"


def test_speech_during_a_call_holds_the_answer(talk: Talk) -> None:
    """The response to the person's words answers the call: nobody asks for another one."""
    heard = talk.pipeline.bus.heard
    results = [d for d in heard if isinstance(d.message, messages.ToolResult)]
    calls = [d for d in heard if isinstance(d.message, messages.ToolCall)]
    slow, spin = results[1].stamp.t, calls[2].stamp.t
    assert slow < spin
    asked = [
        d.stamp.t
        for d in heard
        if isinstance(d.message, messages.ClientEvent) and b"response.create" in d.message.payload
    ]
    assert not [at for at in asked if slow < at < spin]
    # One for each other call.
    assert len(asked) == len(CALLED) - 1


def test_an_answer_to_a_call_can_be_interrupted(talk: Talk) -> None:
    first = talk.pipeline.bus.all(messages.FlushReport)[0]
    assert first.cause == "speech_started"
    cut = [entry for entry in talk.journal if entry["kind"] == "truncate"]
    assert cut
    assert all(entry["ok"] for entry in cut)


def test_the_types_of_the_openai_package_accept_everything(talk: Talk) -> None:
    for event in talk.sent:
        parsed = client_events()[event["type"]].model_validate(event, strict=True)
        assert unknown_fields(parsed) == []
