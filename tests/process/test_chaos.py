"""Kill each stage at the moment at which the person talks over a reply."""

from __future__ import annotations

import pytest

from harness import chaos, soundbench
from shared import registry
from tests.support.pipeline import Keeper

pytestmark = pytest.mark.process

PLAN = tuple((f"kill {stage}", "interrupted") for stage in registry.STAGES)


def test_a_stage_that_dies_at_an_interruption_takes_nothing_along(
    kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundbench.Pipeline, "spawn", kept.fork_server.popen)
    faults, lines = chaos.run(len(PLAN), seed=2, sound=False, plan=PLAN)
    wrong = [f"{f.kind}, {f.phase}: {line}" for f in faults for line in f.wrong]
    assert not wrong, lines
    assert [(f.kind, f.phase) for f in faults if f.answer_s is not None] == list(PLAN)
