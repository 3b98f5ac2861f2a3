"""Uplink asks the server once for each thing that downlink wants."""

from __future__ import annotations

from typing import Any

import pytest

from services.uplink.wishes import Wishes
from shared import messages

pytestmark = pytest.mark.unit


def decision(**fields: Any) -> messages.TurnDecision:
    return messages.TurnDecision(session=1, **fields)


def test_each_item_is_deleted_once_however_long_it_is_unwanted() -> None:
    wishes = Wishes()
    assert wishes.to_delete() == []
    wishes.update(decision(unwanted=["a"]))
    assert wishes.to_delete() == ["a"]
    wishes.update(decision(unwanted=["a", "b"]))
    assert wishes.to_delete() == ["b"]
    assert wishes.to_delete() == []


def test_each_response_is_asked_for_once() -> None:
    wishes = Wishes()
    assert wishes.wanted() is None
    assert wishes.update(decision()) is None
    assert wishes.wanted() is None
    first = decision(answer=3)
    assert wishes.update(first) == decision()
    assert wishes.wanted() is first
    wishes.asked(3)
    assert wishes.wanted() is None
    wishes.update(decision(answer=4))
    assert wishes.wanted() is not None
