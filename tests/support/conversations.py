"""Conversations with an emulator whose journal says what its conversation contains."""

from __future__ import annotations

import json
import signal
import time
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from harness import recordings
from shared import codec, messages
from tests.support.pipeline import PATIENCE_S, Child, Pipeline

#: The person asks again every EVERY_S, for LENGTH_S: longer than a test takes on a busy machine.
#: REPLY_S is the length of a reply.
EVERY_S, LENGTH_S, REPLY_S = 1.8, 240.0, 8


class Witness:
    """An emulator and its journal."""

    def __init__(self, child: Child, journal: Path) -> None:
        self._child = child
        self._journal = journal
        self._read = 0

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a kind."""
        text = self._journal.read_text("utf-8")
        whole = text[: text.rfind("\n") + 1]
        found = [json.loads(line) for line in whole.splitlines()]
        return [entry for entry in found if entry["kind"] == kind]

    def items(self) -> list[dict[str, Any]]:
        """Return the items in the conversation of the newest session."""
        before = len(self.entries("conversation"))
        self._child.send(signal.SIGUSR1)
        deadline = time.monotonic() + PATIENCE_S
        while len(entries := self.entries("conversation")) == before:
            assert time.monotonic() < deadline, "the emulator does not write to its journal"
            time.sleep(0.01)
        items: list[dict[str, Any]] = entries[before]["items"]
        return items


def begin(pipeline: Pipeline, directory: Path, *emulator: str) -> Witness:
    """Start an emulator, and set up the stages for a person who asks again and again."""
    times = takewhile(lambda at: at < LENGTH_S - EVERY_S, count(0.2, EVERY_S))
    said = [(at, recordings.QUESTION) for at in times]
    pipeline.settings |= {
        "capture.device": recordings.microphone(directory / "person.wav", said, LENGTH_S),
        # The person speaks before the canceller could learn the echo.
        "echo.enabled": False,
        "session.turn_detection.silence_duration_ms": 200,
        "session.turn_detection.prefix_padding_ms": 100,
        "session.transcription_model": "whisper-1",
        "session.greeting": "Greet the person.",
        "link.ping_interval_s": 0.2,
        "link.pong_timeout_s": 1.5,
    }
    journal = directory / "journal.jsonl"
    child = pipeline.emulator("--journal", str(journal), *emulator)
    return Witness(child, journal)


def start(pipeline: Pipeline) -> tuple[dict[str, Child], int]:
    """Start the stages, the microphone last. Return the stages and the number of the session."""
    stages = pipeline.all_up("echo", "uplink", "downlink", "playback")
    stages |= pipeline.all_up("link")
    session = pipeline.meet()
    return stages | pipeline.all_up("capture"), session


def history(pipeline: Pipeline, until_ns: int = 2**63) -> list[messages.HistoryTurn]:
    """Return the history as it was at a time, by default now."""
    sent = [d.message for d in pipeline.bus.deliveries(messages.History) if d.stamp.t < until_ns]
    return codec.read_turns(sent[-1].payload)


def restored(pipeline: Pipeline, emulator: Witness, session: int) -> list[messages.HistoryTurn]:
    """Wait until the server's conversation begins with the history; return the restored turns."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        turns = [turn for turn in history(pipeline) if turn.told and turn.session == session]
        items = emulator.items()
        given = [turn for turn in turns if turn.known_as != turn.item_id]
        has = [(i["id"], i.get("text")) for i in items if i["id"].startswith("item_")]
        wanted = [(turn.known_as, turn.text) for turn in given]
        if wanted and has[: len(wanted)] == wanted and turns[len(given) :]:
            return given
        assert time.monotonic() < deadline, f"{wanted} is not the beginning of {has}"
