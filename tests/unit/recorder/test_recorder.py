"""The recorder keeps a limited number of interruptions and transcripts until it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import msgspec
import pytest

from services.recorder import __main__ as recorder
from shared import messages
from shared.config import Config
from shared.config import Recorder as Settings
from shared.stage import Stage
from tests.support.standin import StandIn

pytestmark = pytest.mark.unit


def text(number: int, said: str) -> messages.Transcript:
    return messages.Transcript(
        session=1, item_id=f"item_{number}", role="assistant", text=said, final=True
    )


def cut(number: int) -> messages.Interruption:
    return messages.Interruption(
        generation=number, session=1, cause="control", event_ns=1, flush_ns=2, received_ns=3,
        silent_ns=4, latency_ns=5, reports=[], cancelled=[],
    )  # fmt: skip


def test_the_last_of_all_that_was_said_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_RECORDS", 5)
    monkeypatch.setattr(recorder, "MAX_CHARACTERS", 100)
    config = msgspec.structs.replace(Config(), recorder=Settings(directory=str(tmp_path)))
    bus = StandIn(config)
    recorder.Recorder(cast("Stage", bus))
    for n in range(20):
        bus.deliver(cut(n))
        # the same item's text is published again with each word
        for words in range(1, 4):
            bus.deliver(text(n, "word " * words))
    bus.deliver(text(100, "x" * 80))
    bus.close()
    record = json.loads((tmp_path / "conversation.json").read_bytes())
    assert [i["generation"] for i in record["interruptions"]] == [15, 16, 17, 18, 19]
    assert [(t["item_id"], len(t["text"])) for t in record["transcripts"]] == [
        ("item_19", 15),
        ("item_100", 80),
    ]
