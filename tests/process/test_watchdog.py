"""A stage whose loop hangs: what it reports, who restarts it, and what ``tap health`` says."""

from __future__ import annotations

import signal
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from shared import registry
from tests.support.pipeline import PATIENCE_S, Pipeline

pytestmark = pytest.mark.process


def test_a_stage_reports_that_its_loop_turns_and_is_stuck_when_it_does_not(
    pipeline: Pipeline,
) -> None:
    path = pipeline.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as watching:
        watching.bind(str(path))
        watching.settimeout(PATIENCE_S)
        child = pipeline.stage("vad", env={"NOTIFY_SOCKET": str(path)})
        assert watching.recv(100) == b"READY=1"
        assert [watching.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        child.send(signal.SIGSTOP)
        # The tap looks for 2.5 s, and the loop has to be silent all that time.
        tap = pipeline.python("commands", "tap", "health", *pipeline.options({}))
        tap.codes = {1}
        assert tap.wait() == 1
        [line] = tap.matching("^vad ")
        assert f"STUCK   pid {child.pid}" in line
        assert line.endswith("publishes no health: run 'bargein restart vad'")
        running = [name for name in registry.STAGES if not tap.matching(f"^{name} +not running")]
        assert running == ["vad"]
        child.send(signal.SIGCONT)
        assert child.end() == 0
        reports: list[bytes] = []
        while not reports or reports[-1] != b"STOPPING=1":
            reports.append(watching.recv(100))


#: A program that reports as a stage does. In its first run it then hangs.
HANGS = """
import os, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from shared.watchdog import ALIVE, READY, Reporter
first, reporter = pathlib.Path(sys.argv[2]), Reporter()
again = first.exists()
first.touch()
reporter.say(READY)
print("runs", flush=True)
for _ in range(4 if again else 1):
    reporter.say(ALIVE)
    time.sleep(0.5)
while not again:
    pass
"""


def test_the_launcher_restarts_a_program_that_hangs(pipeline: Pipeline) -> None:
    here = Path(__file__).parents[2]
    place = pipeline.directory
    (place / "hangs.py").write_text(textwrap.dedent(HANGS))
    command = f"exec {sys.executable} -u {place}/hangs.py {here} {place}/first"
    # This one never reports, so nothing is expected of it.
    (place / "Procfile").write_text(f"one: {command}\nother: exec sleep 60\n")
    run = "from commands import launcher; launcher.HANGS_S = 1.5; launcher.run(['-d', '.'])"
    child = pipeline.run(sys.executable, "-c", run, env={"PYTHONPATH": str(here)}, cwd=place)
    assert child.wait() == 0
    [line] = child.matching("one.1 hangs")
    assert "no report for 1.5 s, so it is killed" in line
    assert len(child.matching(r"one.1 +\| runs")) == 2
    assert not child.matching("other.1 hangs")
