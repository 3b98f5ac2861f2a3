"""Nothing that these tests start outlives them, even when the tests are killed."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import keeper
from tests.support.pipeline import ROOT, Keeper, Pipeline, settled, survivors

pytestmark = pytest.mark.process

#: A test run that never ends, with a stopped stage and with honcho, which has a stage of its own.
IN_THE_MIDDLE = """
import signal, sys, time
from tests.support.pipeline import Keeper, Pipeline

kept = Keeper()
with Pipeline(kept) as pipeline:
    pipeline.up("uplink").send(signal.SIGSTOP)
    pipeline.run(
        sys.executable, "-m", "honcho.command", "start", "-e", "/dev/null", "downlink",
        env=pipeline.environment({}),
    )
    pipeline.bus.health("downlink")
    print(kept.token, pipeline.directory, flush=True)
    time.sleep(1000)  # until it is killed
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_tests_that_are_killed(number: int) -> None:
    command = [sys.executable, "-c", IN_THE_MIDDLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as tests:
        try:
            assert tests.stdout is not None
            token, directory = tests.stdout.readline().split()
            begun = keeper.bearers(token)
            locks = [(Path(directory) / "bus" / f"{s}.lock").open() for s in ("uplink", "downlink")]
        finally:
            tests.send_signal(number)
    # On Linux the test sees uplink, honcho, honcho's own process and downlink.
    assert len(begun) >= (4 if Path("/proc/self/environ").exists() else 0)
    assert survivors(token) == []
    # Nobody holds the stages' locks any more: otherwise this would wait for ever.
    for lock in locks:
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
    # The directory is removed last.
    assert settled(lambda: not Path(directory).exists())


def test_a_pipeline_tells_of_what_did_not_end_well(kept: Keeper) -> None:
    pipeline = Pipeline(kept)
    pipeline.run(sys.executable, "-c", "import time; time.sleep(1000)")
    left = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]], **{})"
    new = "start_new_session=True, stdin=-3, stdout=-3, stderr=-3"
    orphan = pipeline.run(
        *(sys.executable, "-c", left.replace("**{}", new)),
        *("-c", "import time; time.sleep(1000)"),
    )
    assert orphan.wait() == 0
    raising = pipeline.run(sys.executable, "-c", "raise ValueError")
    assert raising.wait() == 1
    with pytest.raises(AssertionError) as told:
        pipeline.close()
    # A program that the signal killed did not end by itself.
    assert f"ended with {-signal.SIGTERM}" in str(told.value)
    assert "printed a traceback" in str(told.value)
    if Path("/proc/self/environ").exists():
        assert "was left behind" in str(told.value)
