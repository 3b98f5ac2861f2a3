"""What a viewer is told of a stage's health."""

from __future__ import annotations

import pytest

from services.monitor import records
from shared import messages

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
