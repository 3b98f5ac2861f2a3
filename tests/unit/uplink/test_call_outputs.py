"""What the server still has to get of function calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.uplink.call_outputs import LOST, LOST_APPROVED, LOST_NS, CallOutputs
from shared import messages
from tests.support.openai_types import client_events, unknown_fields

pytestmark = pytest.mark.unit

S = 1_000_000_000


def call(call_id: str = "call_1", *, told: bool = True) -> messages.HistoryTurn:
    return messages.HistoryTurn(
        f"item_{call_id}", "function_call", "", "{}", told=told, name="clock", call_id=call_id
    )


def answered(call_id: str = "call_1") -> messages.HistoryTurn:
    return messages.HistoryTurn(
        f"output_{call_id}", "function_call_output", "", "noon", call_id=call_id
    )


def result(call_id: str = "call_1", **fields: Any) -> messages.ToolResult:
    return messages.ToolResult(call_id=call_id, name="clock", **fields)


def give(calls: CallOutputs, text: str = "noon", **fields: Any) -> bool:
    output = messages.ToolOutput(text, fields.pop("images", []))
    return calls.result(result(**fields), output, "1 0")


def sent(calls: CallOutputs, session: int = 1, now_ns: int = 0) -> list[dict[str, Any]]:
    """Return what is sent. Each event is one of the API's."""
    found = [json.loads(text) for text in calls.to_send(session, now_ns)]
    for event in found:
        parsed = client_events()[event["type"]].model_validate(event, strict=True)
        assert unknown_fields(parsed) == []
        assert len(event["item"].get("id", "")) <= 32
    return found


def running(*names: str) -> messages.ToolState:
    return messages.ToolState(calls=[messages.ToolRun(n, "clock", "running") for n in names])


def test_an_output_is_sent_once() -> None:
    calls = CallOutputs()
    assert give(calls)
    [event] = sent(calls)
    assert event["item"]["type"] == "function_call_output"
    assert (event["item"]["call_id"], event["item"]["output"]) == ("call_1", "noon")
    assert not give(calls, "one o'clock")
    assert sent(calls) == []


def test_an_output_is_sent_again_to_a_session_that_lacks_it() -> None:
    calls = CallOutputs()
    give(calls)
    [first] = sent(calls, 1)
    calls.history([call()], 0)
    assert sent(calls, 2) == [first]
    calls.history([call(), answered()], 0)
    assert sent(calls, 3) == []


def test_two_processes_give_an_output_the_same_id() -> None:
    ones = []
    for _ in range(2):
        calls = CallOutputs()
        give(calls)
        ones.append(sent(calls)[0]["item"]["id"])
    assert ones[0] == ones[1]


def test_a_call_that_tools_does_not_list_is_lost() -> None:
    calls = CallOutputs()
    calls.history([call()], 0)
    assert calls.busy()
    assert sent(calls, now_ns=LOST_NS - 1) == []
    [event] = sent(calls, now_ns=LOST_NS)
    assert event["item"]["output"] == LOST
    assert not calls.busy()
    # The output of the function comes too late.
    assert not give(calls)
    calls.history([call()], 9 * S)
    assert sent(calls, now_ns=99 * S) == []


def test_a_call_that_tools_lists_may_take_its_time() -> None:
    calls = CallOutputs()
    calls.history([call()], 0)
    for second in range(60):
        calls.listed(running("call_1"), second * S)
        assert sent(calls, now_ns=second * S + LOST_NS - 1) == []
    assert sent(calls, now_ns=59 * S + LOST_NS)


def test_a_call_that_was_cut_off_or_has_its_output_is_not_waited_for() -> None:
    calls = CallOutputs()
    calls.history([call("a", told=False), call("b"), answered("b")], 0)
    assert not calls.busy()


def test_a_picture_comes_before_the_output() -> None:
    calls = CallOutputs()
    give(calls, images=["data:image/png;base64,AAAA"])
    picture, output = sent(calls)
    assert picture["item"]["content"][1]["image_url"] == "data:image/png;base64,AAAA"
    assert output["item"]["type"] == "function_call_output"


def test_a_notice_waits_for_a_session_and_is_sent_once() -> None:
    calls = CallOutputs()
    give(calls, "the tea is ready", what="notice", call_id="")
    [event] = sent(calls, 1)
    assert event["item"]["id"].startswith("notice_")
    assert event["item"]["role"] == "system"
    assert sent(calls, 2) == []


@pytest.mark.parametrize("ok", [True, False])
def test_an_approval_is_the_persons_answer(ok: bool) -> None:
    calls = CallOutputs()
    give(calls, what="approval", call_id="mcpr_1", server="docs", ok=ok)
    [event] = sent(calls)
    assert event["item"]["approval_request_id"] == "mcpr_1"
    assert event["item"]["approve"] is ok


def test_the_model_gets_once_what_a_call_returned_that_a_button_approved() -> None:
    calls = CallOutputs()
    asking = messages.ToolState(calls=[messages.ToolRun("call_1", "clock", "asking", "1")])
    give(calls, "Ask the person.", what="model_only")
    calls.listed(asking, 0)
    [event] = sent(calls)
    assert event["item"]["output"] == "Ask the person."
    # Our own function was approved: the server asked for nothing.
    give(calls, what="approval")
    calls.listed(running("call_1"), 1 * S)
    give(calls, what="outcome")
    # The bus has no order between a state and a result.
    calls.listed(running("call_1"), 1 * S)
    give(calls, what="notice", call_id="", images=["data:image/png;base64,AAAA"])
    picture, notice = sent(calls)
    assert picture["item"]["content"][1]["image_url"] == "data:image/png;base64,AAAA"
    assert notice["item"]["content"][0]["text"] == "noon"
    assert sent(calls, now_ns=99 * S) == []


def test_the_model_learns_that_a_call_was_lost_that_a_button_approved() -> None:
    calls = CallOutputs()
    give(calls, "Ask the person.", what="model_only")
    calls.listed(messages.ToolState(calls=[messages.ToolRun("call_1", "x", "asking", "1")]), 0)
    calls.listed(running("call_1"), 1 * S)
    calls.listed(running("call_1"), 9 * S)
    sent(calls)
    assert sent(calls, now_ns=9 * S + LOST_NS - 1) == []
    [event] = sent(calls, now_ns=9 * S + LOST_NS)
    assert event["item"]["content"][0]["text"] == LOST_APPROVED.format("clock")
    assert sent(calls, now_ns=99 * S) == []


def test_a_line_is_said_once_about_a_call_that_takes_long() -> None:
    calls = CallOutputs()
    calls.listed(running("call_1"), 0)
    assert calls.filler(4 * S, 4 * S - 1) == ""
    assert calls.filler(4 * S, 4 * S) == "call_1"
    assert calls.filler(4 * S, 9 * S) == ""
    calls.listed(running("call_2"), 10 * S)
    assert calls.filler(4 * S, 13 * S) == ""
    assert calls.filler(4 * S, 14 * S) == "call_2"
