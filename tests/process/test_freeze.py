"""A stage that was stopped for a while (by a debugger or a suspended laptop) goes on afterwards."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from harness.accounts import Ledger
from shared import messages, registry
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

#: How long stages are stopped, s.
FROZEN_S = (5, 25, 60)
#: Stages that are stopped together. Each of them reads from stages that are not stopped, so that
#: messages go on arriving: libzmq used to abort a reader whose queue was full and whose peer had
#: closed the connection.
TOGETHER = (
    ("uplink", "monitor", "tools", "recorder"),
    ("downlink", "echo"),
    ("link", "vad"),
    ("playback", "capture"),
)


def is_from(pid: int, health: messages.Health) -> bool:
    return health.pid == pid


def freeze(kept: Keeper, frozen: tuple[str, ...]) -> list[str]:
    """Stop stages of a conversation several times, and return a line for each fault afterwards.

    A fault is also an account that does not balance: the frames and events that were passed on
    against the stages' counters, and the audio heard against the audio received.
    """
    faults = []
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings["session.greeting"] = "Tell a long story."
        pipeline.emulator("--pace", "1")
        pipeline.settings |= {"monitor.port": 0, "recorder.directory": pipeline.directory}
        beside = [name for name in frozen if name not in registry.STAGES]
        stages = pipeline.all_up(*registry.STAGES, *beside)
        pipeline.meet()
        with closing(Ledger(pipeline.bus_directory, keep_sound=False)) as ledger:
            ledger.wait_until_begun(PATIENCE_S)
            for seconds in FROZEN_S:
                for name in frozen:
                    stages[name].send(signal.SIGSTOP)
                time.sleep(seconds)
                for name in frozen:
                    stages[name].send(signal.SIGCONT)
                now = pipeline.bus.now
                for name, child in stages.items():
                    try:
                        pipeline.bus.health(name, partial(is_from, child.pid), since=now)
                    except AssertionError as error:
                        faults.append(f"{name}, {seconds} s: {error}\n{child.output[-400:]}")
                # Link sends the microphone's audio to the server again.
                pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "open", since=now)
                first = pipeline.bus.wait_for(messages.LinkState, since=now).message
                goes_on = partial(sends_more, first)
                pipeline.bus.wait_for(messages.LinkState, goes_on, since=now)
            # The ledger compares up to each stage's last health message.
            now = pipeline.bus.now
            for name, child in stages.items():
                pipeline.bus.health(name, partial(is_from, child.pid), since=now)
            faults += [f"{frozen}: {line}" for line in ledger.unbalanced()]
            if not ledger.items:
                faults.append(f"{frozen}: nothing was heard")
    return faults


def sends_more(before: messages.LinkState, now: messages.LinkState) -> bool:
    return (now.session, now.sent) > (before.session, before.sent)


def test_a_stage_that_was_stopped_goes_on(kept: Keeper) -> None:
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(freeze, kept, frozen) for frozen in TOGETHER]
    assert [fault for run in runs for fault in run.result()] == []
