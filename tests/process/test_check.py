"""``bargein check``: our stages and the examples pass, and a broken rule is found, and no other.

All checks run at the same time, a few at once: each of them mostly waits for real time to pass.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from commands.check.__main__ import CHECKS, check
from commands.check.bench import Bench
from commands.check.rules import STUMBLED, Outcome, Verdict
from shared import messages
from tests.support import broken_playback, broken_stage
from tests.support.forger import forging
from tests.support.pipeline import ROOT, Keeper, Pipeline

# A test waits for the checks that were begun before its own.
pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

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


class Reports:
    """The checks that were begun, by stage and by what is special about the program."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._checks: dict[tuple[str, str], Callable[[], list[Verdict]]] = {}
        self._futures: dict[tuple[str, str], Future[list[Verdict]]] = {}

    def begin(self, stage: str, special: str, run: Callable[[], list[Verdict]]) -> None:
        """Begin a check."""
        self._checks[stage, special] = run
        self._futures[stage, special] = self._pool.submit(run)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._futures

    def of(self, stage: str, special: str, failed: Sequence[str] = ()) -> list[Verdict]:
        """Return the verdicts of a check, in which just these rules are to have failed.

        The rules are about real time. If the rules of others failed while ten checks ran at once,
        the check is repeated alone, and only its result counts.
        """
        found = self._futures[stage, special].result()
        if [v.rule for v in found if v.outcome is Outcome.FAILED] != list(failed):
            print("\n".join(verdict.line() for verdict in found))
            wait(self._futures.values())
            found = self._checks[stage, special]()
        return found


@pytest.fixture(scope="module")
def reports(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """Begin every check."""
    directory = tmp_path_factory.mktemp("broken")
    python = sys.executable
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        # Most of the stages are started several times; a fork saves their imports.
        patch.setattr(Bench, "popen", kept.fork_server.popen)
        begun = Reports(pool)
        for stage in CHECKS:
            command = [python, "-m", f"services.{stage}"]
            # A conversation of our own stages is the same one for each of them.
            talks = stage == "capture"
            begun.begin(stage, "", partial(verdicts, stage, command, conversation=talks))
        for name, stage, example in EXAMPLES:
            if "node" not in example or (NODE and NPM):
                begun.begin(stage, name, partial(check_example, stage, example, directory))
        for rule in broken_playback.BREAKS:
            command = [python, str(broken_playback.write(rule, directory))]
            talks = rule == "conversation"
            begun.begin(
                "playback", rule, partial(verdicts, "playback", command, conversation=talks)
            )
        for stage, rule in broken_stage.BREAKS:
            command = [python, "-m", "tests.support.broken_stage", stage, rule]
            begun.begin(stage, rule, partial(verdicts, stage, command, own_only=True))
        yield begun


def verdicts(stage: str, command: list[str], **options: Any) -> list[Verdict]:
    """Return what came of each rule of a check."""
    return list(check(stage, command, limit_s=LIMIT_S, **options))


def check_example(stage: str, example: str, directory: Path) -> list[Verdict]:
    """Check an example, with its packages if it is in JavaScript."""
    where = ROOT / "examples"
    if "node" in example:
        where = directory / "examples"
        if not where.exists():
            ignored = shutil.ignore_patterns("node_modules")
            shutil.copytree(ROOT / "examples", where, ignore=ignored)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=where, check=True, capture_output=True)
    command = example.format(python=sys.executable, examples=where)
    return verdicts(stage, ["sh", "-c", command], conversation="node" in example)


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


def test_a_command_that_does_not_exist_fails(pipeline: Pipeline) -> None:
    child = pipeline.python("commands", "check", "vad", "--", "nosuchprogram")
    assert child.wait() == 1
    assert child.lines[0].startswith("FAILED     starts")
    assert "nosuchprogram: No such file" in child.lines[0]


@pytest.mark.parametrize("stage", CHECKS)
def test_our_own_stage_follows_every_rule(reports: Reports, stage: str) -> None:
    found = reports.of(stage, "")
    assert of(found, Outcome.FAILED) == []
    assert of(found, Outcome.NOT_TRIED) == []


@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name, stage, _ in EXAMPLES])
def test_an_example_follows_every_rule(reports: Reports, name: str, stage: str) -> None:
    if (stage, name) not in reports:
        pytest.skip("needs node and npm")
    found = reports.of(stage, name)
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
    found = reports.of(stage, rule, [rule])
    failed = [verdict.rule for verdict in found if verdict.outcome is Outcome.FAILED]
    assert failed == [rule], "\n".join(verdict.line() for verdict in found)
    assert not any(STUMBLED in verdict.seen for verdict in found)
