"""Uplink asks the server once for each thing that downlink wants."""

from __future__ import annotations

from typing import Any

import pytest

from services.uplink.decision_requests import DecisionRequests
from shared import messages

pytestmark = pytest.mark.unit


def decision(**fields: Any) -> messages.TurnDecision:
    return messages.TurnDecision(session=1, **fields)


def test_each_item_is_deleted_once_however_long_it_is_unwanted() -> None:
    made = DecisionRequests()
    assert made.to_delete() == []
    made.update(decision(unwanted=["a"]))
    assert made.to_delete() == ["a"]
    made.update(decision(unwanted=["a", "b"]))
    assert made.to_delete() == ["b"]
    assert made.to_delete() == []


def test_each_response_is_asked_for_once() -> None:
    made = DecisionRequests()
    assert made.wanted() is None
    assert made.update(decision()) is None
    assert made.wanted() is None
    first = decision(answer=3)
    assert made.update(first) == decision()
    assert made.wanted() is first
    made.asked(3)
    assert made.wanted() is None
    made.update(decision(answer=4))
    assert made.wanted() is not None
