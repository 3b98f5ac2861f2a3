"""``bargein check``: our stages and the examples pass, and a broken rule is found, and no other.

All checks run at the same time, a few at once: each of them mostly waits for real time to pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from commands.check.__main__ import CHECKS, check
from commands.check.rules import Outcome, Verdict
from tests.support import broken_playback, broken_stage

pytestmark = pytest.mark.process

#: Checks at once: more would make the stages late on a machine with two processors.
AT_ONCE = 10
#: A check may take this long, s, on a machine that is busy with ten of them.
LIMIT_S = 60.0

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
                check, stage, [python, "-m", f"services.{stage}"], limit_s=LIMIT_S
            )
        for rule in broken_playback.BREAKS:
            command = [python, str(broken_playback.write(rule, directory))]
            begun["playback", rule] = pool.submit(check, "playback", command, limit_s=LIMIT_S)
        for stage, rule in broken_stage.BREAKS:
            command = [python, "-m", "tests.support.broken_stage", stage, rule]
            begun[stage, rule] = pool.submit(check, stage, command, own_only=True, limit_s=LIMIT_S)
        yield begun


def of(verdicts: list[Verdict], outcome: Outcome) -> list[str]:
    """Return the lines of one outcome."""
    return [verdict.line() for verdict in verdicts if verdict.outcome is outcome]


@pytest.mark.parametrize("stage", CHECKS)
def test_our_own_stage_follows_every_rule(reports: Reports, stage: str) -> None:
    verdicts = reports[stage, ""].result()
    assert of(verdicts, Outcome.FAILED) == []
    assert of(verdicts, Outcome.NOT_TRIED) == []


@pytest.mark.parametrize(
    ("stage", "rule"),
    [*(("playback", rule) for rule in broken_playback.BREAKS), *broken_stage.BREAKS],
)
def test_a_stage_that_breaks_one_rule_fails_at_it_and_only_there(
    reports: Reports, stage: str, rule: str
) -> None:
    verdicts = reports[stage, rule].result()
    failed = [verdict.rule for verdict in verdicts if verdict.outcome is Outcome.FAILED]
    assert failed == [rule], "\n".join(verdict.line() for verdict in verdicts)
