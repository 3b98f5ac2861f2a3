"""If a stage dies during a reply, the server learns how much was heard, without an interruption."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from services.uplink.reports import MARGIN_MS
from shared import messages
from shared.audio import pcm
from tests.support.conversations import Witness, history
from tests.support.forger import command
from tests.support.pipeline import UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

#: Length of the reply, and how much of it is heard before the stage is killed, in seconds.
REPLY_S, HEARD_S = 2, 0.6
STAGES = ("uplink", "downlink", "playback")


@pytest.mark.parametrize(
    ("stage", "pace", "away"),
    [
        ("playback", "1.5", ""),
        ("playback", "0", ""),
        ("downlink", "1.5", ""),
        ("downlink", "1.5", "response.done"),
    ],
    ids=[
        "playback, and the reply goes on with a gap",
        "playback, with all that was to come",
        "downlink, and the reply goes on with a gap",
        "downlink, and the rest comes late",
    ],
)
def test_audio_that_a_dead_stage_had_is_not_believed_to_be_heard(
    kept: Keeper, tmp_path: Path, stage: str, pace: str, away: str
) -> None:
    journal = tmp_path / "journal.jsonl"
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings["session.greeting"] = "Say hello."
        options = ("--reply", f"tone:{REPLY_S}", "--pace", pace, "--skew", "0")
        child = pipeline.emulator(*options, "--journal", str(journal))
        emulator = Witness(child, journal)
        stages = pipeline.all_up(*STAGES)
        pipeline.up("link")
        pipeline.meet()
        mark = pcm.RATE * HEARD_S
        heard = pipeline.bus.wait_for(messages.Heard, lambda h: h.items and h.items[0].heard > mark)
        stages[stage].end(signal.SIGKILL)
        if away:
            pipeline.bus.wait_for(
                messages.ServerEvent, lambda e: json.loads(e.payload)["type"] == away
            )
        pipeline.up(stage)
        [item_id] = [item.item_id for item in heard.message.items]
        record = pipeline.bus.wait_for(messages.Interruption).message
        [report] = record.reports
        playhead = [item.heard for h in pipeline.bus.all(messages.Heard) for item in h.items]
        # A later interruption does not report the reply again.
        command(pipeline, "interrupt")
        pipeline.bus.wait_for(messages.FlushReport, lambda s: s.cause == "control")
        pipeline.bus.health("uplink", since=pipeline.bus.now)
        [item] = emulator.items()
        truncated = emulator.entries("truncate")
        [turn] = history(pipeline)
    assert (record.cause, report.action) == ("abandoned", "truncate")
    [entry] = truncated
    assert entry["ok"]
    assert entry["item_id"] == item_id == item["id"]
    # The server keeps the audio that was heard before the gap, less at most 200 ms and MARGIN_MS.
    most = pcm.samples_to_ms(max(playhead))
    assert most - MARGIN_MS - 200 <= entry["audio_end_ms"] <= most < REPLY_S * 1000
    assert item["audio_ms"] == entry["audio_end_ms"]
    # The history has the heard words only. Each of the tone's words is its own time in ms.
    assert turn.text.split()[0] == "0"
    assert max(int(word) for word in turn.text.split()) <= most
