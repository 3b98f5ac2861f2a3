"""What holds for every test: its environment, its ring, and when it may be skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# a deadline would measure the machine and its neighbours, not the code
settings.register_profile("bargein", deadline=None)
settings.load_profile("bargein")

RINGS = ("unit", "contract", "process", "sound")
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Take the person's own settings, and above all their key, out of what the tests see."""
    for name in list(os.environ):
        if name.startswith(("BARGEIN_", "OPENAI_")):
            del os.environ[name]


@pytest.hookimpl(tryfirst=True)  # so that `-m` already finds the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its ring, which is the folder it is in."""
    for item in items:
        for ring in RINGS:
            if item.path.is_relative_to(HERE / ring):
                item.add_marker(ring)


def _skip_is_failure() -> bool:
    return os.environ.get("CI") == "true"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not _skip_is_failure():
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"with CI=true every test has to run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI, report a test that was skipped as failed."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under CI, report a module that was skipped as failed."""
    report = yield
    _fail_if_skipped(report)
    return report
