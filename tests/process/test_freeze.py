"""A stage that was stopped for a while (a debugger, a suspended laptop) goes on where it was."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from shared import messages as m
from shared import topics
from tests.process.pipeline import UNHELD, Keeper, Pipeline

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

#: How long stages are stopped, s.
FROZEN_S = (5, 25, 60)
#: Stages that are stopped together, so that each is stopped while its neighbours go on.
TOGETHER = (("capture", "vad", "uplink", "downlink"), ("echo", "link", "playback"))


def is_from(pid: int, health: m.Health) -> bool:
    return health.pid == pid


def freeze(kept: Keeper, frozen: tuple[str, ...], seconds: float) -> list[str]:
    """Stop stages of a conversation for so long; return what is wrong with it afterwards."""
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.emulator()
        stages = pipeline.all_up(*topics.STAGES)
        pipeline.meet()
        for name in frozen:
            stages[name].send(signal.SIGSTOP)
        time.sleep(seconds)  # the time that passes is what is tested
        for name in frozen:
            stages[name].send(signal.SIGCONT)
        now = pipeline.bus.now
        faults = []
        for name, child in stages.items():
            try:
                pipeline.bus.health(name, partial(is_from, child.pid), since=now)
            except AssertionError as error:
                faults.append(f"{name}, {seconds} s of {frozen}: {error}\n{child.output[-400:]}")
        # and the microphone reaches the server again
        state = pipeline.bus.wait_for(m.LinkState, lambda s: s.state == "open", since=now).message
        pipeline.bus.wait_for(
            m.LinkState, lambda s: (s.session, s.sent) > (state.session, state.sent), since=now
        )
        return faults


def test_a_stage_that_was_stopped_goes_on(kept: Keeper) -> None:
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(freeze, kept, frozen, seconds)
            for frozen in TOGETHER
            for seconds in FROZEN_S
        ]
    assert [fault for run in runs for fault in run.result()] == []
