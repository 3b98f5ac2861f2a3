"""The responses: which are under way, and which an interruption names."""

from __future__ import annotations

from services.downlink.responses import REMEMBERED, Responses


def test_a_response_is_under_way_until_it_is_done() -> None:
    known = Responses()
    assert not known.active
    assert not known.generating
    assert "resp_1" not in known
    response = known.get("resp_1")
    assert known.active
    assert known.generating
    assert known.under_way() == ["resp_1"]
    response.active = False
    assert "resp_1" in known
    assert not known.active
    assert known.under_way() == []


def test_an_interruption_names_each_response_once_and_again_while_it_is_under_way() -> None:
    known = Responses()
    known.get("resp_1").active = False
    known.get("resp_2")
    known.get("aside", out_of_band=True)
    assert known.interrupt() == (["resp_1", "resp_2"], ["resp_2"])
    assert known.interrupt() == (["resp_2"], ["resp_2"])
    assert known.interrupted("resp_1")
    assert not known.interrupted("aside")
    assert not known.interrupted("unknown")
    assert known.active
    assert not known.generating


def test_the_oldest_responses_are_forgotten() -> None:
    known = Responses()
    for number in range(REMEMBERED + 5):
        known.get(f"resp_{number}")
    assert len(known) == REMEMBERED
    assert "resp_4" not in known
    assert "resp_5" in known
