"""What the recorder remembers until it ends: no more than has a limit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from services import recorder
from shared import messages as m
from shared import topics
from shared.bus import Delivery
from shared.config import Config
from shared.config import Recorder as Settings
from shared.stage import Stage

pytestmark = pytest.mark.unit


class Bus:
    """What a stage is to the recorder."""

    def __init__(self, directory: Path) -> None:
        self.config = msgspec.structs.replace(Config(), recorder=Settings(directory=str(directory)))
        self.log = SimpleNamespace(info=lambda *_: None)
        self.handlers: dict[type[m.Message], Any] = {}
        self.state = ""

    def subscribe(self, kind: type[m.Message], handler: Any) -> None:
        self.handlers[kind] = handler

    def every(self, seconds: float, handler: Any) -> None:
        pass

    def on_close(self, handler: Any) -> None:
        self.close = handler

    def say(self, message: m.Message) -> None:
        row, stamp = topics.of(type(message)), m.Stamp(seq=0, epoch=1, t=2)
        self.handlers[type(message)](Delivery(row, message, stamp, restarted=False, lost=0))


def text(number: int, said: str) -> m.Transcript:
    return m.Transcript(
        session=1, item_id=f"item_{number}", role="assistant", text=said, final=True
    )


def cut(number: int) -> m.Interruption:
    return m.Interruption(
        generation=number, session=1, cause="control", event_ns=1, flush_ns=2, received_ns=3,
        silent_ns=4, latency_ns=5, reports=[], cancelled=[],
    )  # fmt: skip


def test_the_last_of_all_that_was_said_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEPT", 5)
    monkeypatch.setattr(recorder, "LETTERS", 100)
    bus = Bus(tmp_path)
    recorder.Recorder(cast("Stage", bus))
    for n in range(20):
        bus.say(cut(n))
        # each text comes as often as it has words
        for words in range(1, 4):
            bus.say(text(n, "word " * words))
    bus.say(text(100, "x" * 80))
    bus.close()
    record = json.loads((tmp_path / "conversation.json").read_bytes())
    assert [i["generation"] for i in record["interruptions"]] == [15, 16, 17, 18, 19]
    assert [(t["item_id"], len(t["text"])) for t in record["transcripts"]] == [
        ("item_19", 15),
        ("item_100", 80),
    ]
