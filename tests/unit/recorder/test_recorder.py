"""The recorder keeps a limited number of interruptions and transcripts until it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
import soundfile

from services.recorder import __main__ as recorder
from services.recorder import sound_files
from shared import messages
from shared.audio import pcm
from shared.config import Config
from shared.config import Recorder as Settings
from shared.stage import Stage
from tests.support.standin import StageStandIn

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
    bus = StageStandIn(config)
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


def test_a_full_file_is_followed_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WAV file holds 4 GiB: the header of a longer one would have a wrong length."""
    assert sound_files.MOST_SAMPLES * sound_files.CHANNELS * pcm.SAMPLE_BYTES < 2**32 - 100
    monkeypatch.setattr(sound_files, "MOST_SAMPLES", 1000)
    config = msgspec.structs.replace(Config(), recorder=Settings(directory=str(tmp_path)))
    bus = StageStandIn(config)
    recorder.Recorder(cast("Stage", bus))
    now = time.monotonic_ns()
    count = 10 * pcm.FRAME
    sound = np.arange(count, dtype="<i2")
    for n, frame in enumerate(sound.reshape(10, -1)):
        at_ns = now + n * 20_000_000
        bus.deliver(
            messages.MicClean(
                stream=1,
                position=n * pcm.FRAME,
                captured_ns=at_ns,
                overflows=0,
                payload=frame.tobytes(),
            )
        )
    bus.tick()
    bus.close()
    record = json.loads((tmp_path / "conversation.json").read_bytes())
    assert record["files"] == ["conversation.wav", *(f"conversation-{n}.wav" for n in range(2, 6))]
    parts = []
    for name in record["files"]:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        parts.append(soundfile.read(tmp_path / name, dtype="int16")[0])
    assert [len(part) for part in parts] == [1000, 1000, 1000, 1000, count - 4000]
    assert np.concatenate(parts)[:, 0].tolist() == sound.tolist()
    assert bus.state == f"recording {tmp_path}/conversation-5.wav"
    assert bus.logged[-1].startswith("the last file is full: recording ")


def test_an_interruption_without_times_is_placed_where_it_was_published(tmp_path: Path) -> None:
    """A restarted uplink tells the server late, and has none of the times."""
    config = msgspec.structs.replace(Config(), recorder=Settings(directory=str(tmp_path)))
    bus = StageStandIn(config)
    recorder.Recorder(cast("Stage", bus))
    late = msgspec.structs.replace(
        cut(1), cause="told late", event_ns=0, flush_ns=0, received_ns=0, silent_ns=0
    )
    before_ms = time.monotonic_ns() // 1_000_000
    bus.deliver(late)
    after_ms = time.monotonic_ns() // 1_000_000
    bus.close()
    (written,) = json.loads((tmp_path / "conversation.json").read_bytes())["interruptions"]
    assert before_ms <= written["at_ms"] <= after_ms
