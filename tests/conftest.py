"""The environment of every test, the mark of its ring, and the rule for skipped tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before the first import of NumPy: as services/echo does, for its modules that the tests import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A deadline and the health check of the time would measure the machine and its load, not the code.
settings.register_profile("bargein", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bargein")

RINGS = ("unit", "contract", "process", "sound")
#: The limit of a unit test, s. Unit tests get the processor time that the other rings leave: on a
#: busy machine one that computes for 20 s took longer than the usual limit.
UNIT_S = 900
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Remove the developer's own settings and key from the environment of the tests."""
    for name in list(os.environ):
        if name.startswith(("BARGEIN_", "OPENAI_")):
            del os.environ[name]


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its ring: the name of its folder."""
    for item in items:
        for ring in RINGS:
            if item.path.is_relative_to(HERE / ring):
                item.add_marker(ring)
                if ring == "unit" and not item.get_closest_marker("timeout"):
                    item.add_marker(pytest.mark.timeout(UNIT_S))


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
