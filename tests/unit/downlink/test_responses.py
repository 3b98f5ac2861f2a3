"""The responses: which are under way, and which an interruption names."""

from __future__ import annotations

import msgspec

from services.downlink import objects
from services.downlink.responses import REMEMBERED, Responses
from shared.realtime.event_ids import OUT_OF_BAND


def test_a_response_is_under_way_until_it_is_done() -> None:
    known = Responses()
    assert "resp_1" not in known
    response = known.get("resp_1")
    assert known.any_active
    assert known.any_generating
    assert known.under_way() == ["resp_1"]
    response.under_way = False
    assert "resp_1" in known
    assert known.under_way() == []


def test_a_conversation_without_a_response_under_way_is_not_active() -> None:
    known = Responses()
    known.get("resp_1").under_way = False
    assert not known.any_active
    assert not known.any_generating


def test_an_interruption_names_each_response_once_and_again_while_it_is_under_way() -> None:
    known = Responses()
    known.get("resp_1").under_way = False
    known.get("resp_2")
    known.take(objects.Response("aside", metadata={OUT_OF_BAND: "yes"}))
    assert known.interrupt() == (["resp_1", "resp_2"], ["resp_2"])
    assert known.interrupt() == (["resp_2"], ["resp_2"])
    assert known.interrupted("resp_1")
    assert not known.interrupted("aside")
    assert not known.interrupted("unknown")
    assert known.any_active
    assert not known.any_generating


def test_the_oldest_responses_are_forgotten() -> None:
    known = Responses()
    for number in range(REMEMBERED + 5):
        known.get(f"resp_{number}")
    assert len(known) == REMEMBERED
    assert "resp_4" not in known
    assert "resp_5" in known


def told(name: str, conversation: str | msgspec.UnsetType | None) -> objects.Response:
    """Return what a server says about a response."""
    return objects.Response(name, conversation_id=conversation)


def test_null_for_a_conversation_means_out_of_band_where_other_responses_have_one() -> None:
    known = Responses()
    known.take(told("reply", "conv"))
    known.take(told("aside", None))
    known.take(told("silent", msgspec.UNSET))
    assert known.is_out_of_band("aside")
    assert not known.is_out_of_band("reply")
    assert not known.is_out_of_band("silent")
    assert not known.is_out_of_band("unknown")
    assert known.interrupt()[0] == ["reply", "silent"]


def test_a_server_that_names_no_conversation_says_nothing_about_its_responses() -> None:
    known = Responses()
    known.take(told("reply", None))
    assert known.any_active
    assert not known.is_out_of_band("reply")
    known.clear()
    known.take(told("another", None))
    assert known.interrupt() == (["another"], ["another"])


def test_a_server_that_named_conversations_counts_as_one_in_the_next_session() -> None:
    known = Responses()
    known.take(told("reply", "conv"))
    known.clear()
    known.take(told("aside", None))
    assert known.is_out_of_band("aside")


def test_our_own_mark_means_out_of_band_on_every_server() -> None:
    known = Responses()
    known.take(objects.Response("aside", conversation_id=None, metadata={OUT_OF_BAND: "yes"}))
    known.take(objects.Response("odd", metadata=[OUT_OF_BAND]))
    assert known.is_out_of_band("aside")
    assert not known.is_out_of_band("odd")


def test_a_server_that_begins_more_and_more_does_not_make_each_event_slower() -> None:
    known = Responses()
    names = [f"resp_{number}" for number in range(10 * REMEMBERED)]
    for name in names:
        known.take(told(name, "conv"))
    assert known.under_way() == names[-REMEMBERED:]
    assert known.dropped == 9 * REMEMBERED
    for name in names[-REMEMBERED:]:
        known.get(name).under_way = False
    for name in names:
        known.take(told(f"done_{name}", "conv")).under_way = False
    assert len(known) == REMEMBERED
    assert known.dropped == 9 * REMEMBERED
