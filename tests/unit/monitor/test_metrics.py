"""The figures for Prometheus, read with Prometheus's own library."""

from __future__ import annotations

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.monitor.metrics import Metrics
from shared import messages

pytestmark = pytest.mark.unit


def figures(metrics: Metrics) -> dict[str, float]:
    """Return each sample's value by its name and its labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        " ".join(
            [sample.name, *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_session_after_a_lost_connection_is_a_reconnect() -> None:
    metrics = Metrics()
    assert figures(metrics)["bargein_reconnects_total"] == 0
    sessions: list[tuple[int, messages.Cause]] = [
        (1, "unreachable"),  # the first session: the server was not there at once
        (2, "renewed"),
        (3, "reset"),
        (3, "reset"),  # the state is repeated
        (4, "asked"),  # after a sleep
        (5, ""),  # link was started again
    ]
    for session, cause in sessions:
        metrics.link(messages.LinkState(state="open", session=session, cause=cause))
    assert figures(metrics)["bargein_reconnects_total"] == 2
    assert figures(metrics)["bargein_sessions_total"] == 5


def test_gaps_and_drops_are_counted_for_each_stage() -> None:
    metrics = Metrics()
    counters = {"lost.mic.clean": 2, "underruns": 1, "refused.mic.clean": 8, "frames_sent": 100}
    told = messages.Health(pid=os.getpid(), ok=True, state="", counters=counters)
    metrics.health("uplink", told)
    found = figures(metrics)
    assert found["bargein_stage_gaps_total uplink"] == 3
    assert found["bargein_stage_drops_total uplink"] == 8
    assert found["bargein_stage_events_total frames_sent uplink"] == 100
    assert found["bargein_stage_up uplink"] == 1
    assert found["bargein_stage_memory_bytes uplink"] > 0
    assert found["bargein_stage_cpu_seconds_total uplink"] > 0


def test_monitor_itself_is_one_of_the_stages() -> None:
    found = figures(Metrics())
    assert found["bargein_stage_up monitor"] == 1
    assert found["bargein_stage_memory_bytes monitor"] > 0
    assert found["bargein_stage_cpu_seconds_total monitor"] > 0
