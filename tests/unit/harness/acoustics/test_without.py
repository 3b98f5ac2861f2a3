"""Each mechanism that can be switched off exists, and is off then."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from harness.acoustics import without
from harness.acoustics.cases import cases

pytestmark = pytest.mark.unit


def target(name: str) -> tuple[object, str, str]:
    module, path = without.MECHANISMS[name].where.split(":")
    owner, method = path.split(".")
    return importlib.import_module(module), owner, method


@pytest.fixture
def restored(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the mechanism back after the test."""
    module, owner, method = target(request.getfixturevalue("name"))
    kept = getattr(module, owner)
    before = vars(kept).get(method)
    yield
    setattr(module, owner, kept)
    setattr(kept, method, before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", sorted(without.MECHANISMS))
def test_a_mechanism_is_switched_off(name: str) -> None:
    module, owner, method = target(name)
    before = getattr(getattr(module, owner), method)
    without.switch_off(name)
    assert getattr(getattr(module, owner), method) is not before


def test_each_mechanism_names_a_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {case.row for case in cases(0)}
    assert {mechanism.row for mechanism in without.MECHANISMS.values()} <= rows
    gone = without.Mechanism("a", "laptop", "services.echo.canceller:Canceller.gone", lambda m: m)
    monkeypatch.setitem(without.MECHANISMS, "gone", gone)
    with pytest.raises(without.UnknownMechanismError, match=r"Canceller\.gone"):
        without.switch_off("gone")
