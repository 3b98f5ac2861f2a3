"""What a viewer is told of a stage's health."""

from __future__ import annotations

import pytest

from services.monitor import records
from services.monitor.view import View
from shared import codec, messages
from shared.config import Config

pytestmark = pytest.mark.unit


def test_gaps_and_drops_are_summed_over_topics() -> None:
    counters = {
        "lost.mic.clean": 2,
        "lost.reply.audio": 1,
        "underruns": 4,
        "stale.mic.clean": 8,
        "refused": 16,  # the sum of those by topic
        "refused.mic.clean": 16,
        "unplayed": 32,
        "frames_sent": 1000,
    }
    told = messages.Health(pid=1, ok=True, state="listening", counters=counters)
    shown = records.health("uplink", told, late=False)
    assert (shown["gaps"], shown["drops"]) == (7, 56)


def test_a_viewer_gets_the_outcome_of_a_call_that_waited_and_not_what_only_the_model_is_told() -> (
    None
):
    view = View(Config())
    output = codec.write_output(messages.ToolOutput("x" * 2000))

    def result(what: str, *, ok: bool = True, payload: bytes = b"") -> messages.ToolResult:
        return messages.ToolResult(
            what=what,  # type: ignore[arg-type]
            call_id="call_1",
            name="light",
            summary='light(room="hall")',
            ok=ok,
            payload=payload,
        )

    for message in (
        result("model_only", payload=output),
        result("approval"),
        result("outcome", payload=output),
        result("notice", payload=output),
        result("approval", ok=False),
    ):
        view.take(message, 0, 0)
    told = [change for change in view.changes(0, watched=True) if change["type"] == "result"]
    assert view.snapshot(0)["results"] == told
    assert [(each["summary"], each["result"], len(each["text"])) for each in told] == [
        ('light(room="hall")', "approved", 0),
        ('light(room="hall")', "done", records.MOST_TEXT),
        ('light(room="hall")', "denied", 0),
    ]
