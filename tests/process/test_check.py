"""``bargein check``: our stages and the examples pass, and a broken rule is found, and no other.

All checks run at the same time, a few at once: each of them mostly waits for real time to pass.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from commands.check.__main__ import CHECKS, check
from commands.check.bench import Bench
from commands.check.rules import Outcome, Verdict
from shared import messages
from tests.support import broken_playback, broken_stage
from tests.support.forger import forging
from tests.support.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.process

#: Checks at once: more would make the stages late on a machine with two processors.
AT_ONCE = 10
#: A check may take this long, s, on a machine that is busy with ten of them.
LIMIT_S = 60.0

NODE, NPM = shutil.which("node"), shutil.which("npm")
#: A name, the stage that the example is, and the shell command that runs it.
EXAMPLES = (
    ("in Python", "playback", "exec {python} {examples}/playback.py"),
    (
        "in JavaScript",
        "playback",
        "exec sh {examples}/locked.sh playback node {examples}/playback.mjs",
    ),
    ("standard input", "capture", "exec {python} {examples}/capture_stdin.py < /dev/zero"),
)

Reports = dict[tuple[str, str], Future[list[Verdict]]]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """Begin every check, and return what will come of it by stage and broken rule."""
    directory = tmp_path_factory.mktemp("broken")
    python = sys.executable
    begun: Reports = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for stage in CHECKS:
            begun[stage, ""] = pool.submit(
                verdicts,
                stage,
                [python, "-m", f"services.{stage}"],
                # a conversation of our own stages is the same one for each of them
                conversation=stage == "capture",
                limit_s=LIMIT_S,
            )
        for name, stage, example in EXAMPLES:
            if "node" not in example or (NODE and NPM):
                begun[stage, name] = pool.submit(check_example, stage, example, directory)
        for rule in broken_playback.BREAKS:
            command = [python, str(broken_playback.write(rule, directory))]
            begun["playback", rule] = pool.submit(
                verdicts,
                "playback",
                command,
                conversation=rule == "conversation",
                limit_s=LIMIT_S,
            )
        for stage, rule in broken_stage.BREAKS:
            command = [python, "-m", "tests.support.broken_stage", stage, rule]
            begun[stage, rule] = pool.submit(
                verdicts, stage, command, own_only=True, limit_s=LIMIT_S
            )
        yield begun


def verdicts(stage: str, command: list[str], **options: Any) -> list[Verdict]:
    """Return what came of each rule of a check."""
    return list(check(stage, command, **options))


def check_example(stage: str, example: str, directory: Path) -> list[Verdict]:
    """Check an example, with its packages if it is in JavaScript."""
    where = ROOT / "examples"
    if "node" in example:
        where = directory / "examples"
        shutil.copytree(ROOT / "examples", where, ignore=shutil.ignore_patterns("node_modules"))
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=where, check=True, capture_output=True)
    command = example.format(python=sys.executable, examples=where)
    return verdicts(stage, ["sh", "-c", command], conversation="node" in example, limit_s=LIMIT_S)


def of(verdicts: list[Verdict], outcome: Outcome) -> list[str]:
    """Return the lines of one outcome."""
    return [verdict.line() for verdict in verdicts if verdict.outcome is outcome]


@pytest.mark.parametrize("stage", CHECKS)
def test_each_rule_has_a_stage_that_breaks_it(stage: str) -> None:
    with Bench(stage, ["true"]) as bench:
        kind = CHECKS[stage](bench)
        own = {rule.name for rule in kind.own_rules()}
        every = {rule.name for rule in kind.rules()} | {"conversation"}
        kind.close()
    broken = {rule for name, rule in broken_stage.BREAKS if name == stage}
    if stage == "playback":
        # the rules that hold for every stage are broken once, and by an example, which starts fast
        assert broken == set()
        assert set(broken_playback.BREAKS) == every
    else:
        assert broken == own


def test_a_command_that_is_no_stage_fails_at_once(pipeline: Pipeline) -> None:
    child = pipeline.python("commands", "check", "vad", "--", "false")
    assert child.wait() == 1
    assert child.lines[0].startswith("FAILED     starts")
    assert "exit code 1" in child.lines[0]
    assert all(line.startswith("not tried") for line in child.lines[1:])


@pytest.mark.parametrize("stage", CHECKS)
def test_our_own_stage_follows_every_rule(reports: Reports, stage: str) -> None:
    found = reports[stage, ""].result()
    assert of(found, Outcome.FAILED) == []
    assert of(found, Outcome.NOT_TRIED) == []


@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name, stage, _ in EXAMPLES])
def test_an_example_follows_every_rule(reports: Reports, name: str, stage: str) -> None:
    if (stage, name) not in reports:
        pytest.skip("needs node and npm")
    found = reports[stage, name].result()
    assert of(found, Outcome.FAILED) == []
    assert of(found, Outcome.NOT_TRIED) == []


def test_the_captions_are_printed(pipeline: Pipeline) -> None:
    env = {"BARGEIN_BUS__DIRECTORY": str(pipeline.bus_directory)}
    captions = pipeline.run(sys.executable, "-u", str(ROOT / "examples" / "captions.py"), env=env)
    captions.codes = {-signal.SIGTERM}
    with forging("downlink", pipeline, "transcript") as downlink:
        for item_id, final in (("a", False), ("a", True), ("a", True), ("b", True)):
            downlink.publish(
                messages.Transcript(
                    session=1, item_id=item_id, role="assistant", text=f"Hi {item_id}", final=final
                )
            )
        captions.wait_line("assistant: Hi b")
    assert captions.lines == ["assistant: Hi a", "assistant: Hi b"]


@pytest.mark.parametrize(
    ("stage", "rule"),
    [*(("playback", rule) for rule in broken_playback.BREAKS), *broken_stage.BREAKS],
)
def test_a_stage_that_breaks_one_rule_fails_at_it_and_only_there(
    reports: Reports, stage: str, rule: str
) -> None:
    found = reports[stage, rule].result()
    failed = [verdict.rule for verdict in found if verdict.outcome is Outcome.FAILED]
    assert failed == [rule], "\n".join(verdict.line() for verdict in found)
