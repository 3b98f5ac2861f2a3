"""Function calls: which are run, and when their answer is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink import events, objects
from services.downlink.calls import UNANNOUNCED_NS, Calls
from services.downlink.decisions import Decisions
from shared import messages
from shared.settings import Config, Interruption, Session, Tools, TurnDetection

pytestmark = pytest.mark.unit

S = 1_000_000_000


def item(call_id: str = "call_1", **fields: Any) -> objects.Item:
    """Return a complete call."""
    told = {"status": "completed", "name": "clock", "arguments": "{}"} | fields
    return objects.Item(f"item_{call_id}", "function_call", call_id=call_id, **told)


def output(call_id: str = "call_1", prefix: str = "output_") -> objects.Item:
    return objects.Item(f"{prefix}{call_id}", "function_call_output", call_id=call_id)


def listed(*names: str) -> messages.ToolState:
    return messages.ToolState(calls=[messages.ToolRun(n, "clock", "running") for n in names])


# which calls are run


def test_a_complete_call_is_run_once() -> None:
    calls = Calls()
    call = calls.complete("resp_1", item(arguments='{"zone":"UTC"}'), 7)
    assert call == messages.ToolCall(
        session=7,
        response_id="resp_1",
        call_id="call_1",
        name="clock",
        payload=b'{"zone":"UTC"}',
    )
    assert calls.complete("resp_1", item(), 7) is None
    assert calls.complete("resp_2", item(), 8) is None


@pytest.mark.parametrize(
    "cut", [{"status": "incomplete"}, {"status": "in_progress"}, {"name": None}]
)
def test_a_call_that_was_cut_off_is_not_run(cut: dict[str, Any]) -> None:
    assert Calls().complete("resp_1", item(**cut), 7) is None


def test_a_call_without_an_id_is_not_run() -> None:
    assert Calls().complete("resp_1", item(call_id=""), 7) is None


def test_a_call_that_only_its_arguments_announced_is_run_with_the_response() -> None:
    calls = Calls()
    calls.announced("resp_1", item())
    assert calls.response_done("resp_1") == [item()]
    assert calls.response_done("resp_1") == []


def test_a_servers_request_for_an_approval_is_passed_on() -> None:
    asks = objects.Item(
        "mcpr_1", "mcp_approval_request", name="delete", arguments="{}", server_label="files"
    )
    call = Calls().complete("resp_1", asks, 7)
    assert call is not None
    assert (call.action, call.call_id, call.server) == ("ask", "mcpr_1", "files")


def served(calls: Calls, name: str = "mcp_1", response: str = "resp_1") -> None:
    """Let the server run a function on an MCP server of its own."""
    calls.mentioned(response, objects.Item(name, "mcp_call", name="search", server_label="docs"))
    assert calls.server_runs(name, 7)
    assert calls.server_runs(name, 7) is None


def test_a_function_that_the_server_runs_is_answered_when_it_has_ended() -> None:
    calls = Calls()
    calls.complete("resp_1", item(), 7)
    served(calls)
    calls.item_added(output())
    assert not calls.ready()  # The other call of the response still runs.
    assert calls.server_ran("mcp_1", 7, ok=True)
    assert calls.server_ran("mcp_1", 7, ok=True) is None
    assert calls.ready()
    calls.response_created()
    assert not calls.ready()


def test_a_call_of_the_servers_that_tools_does_not_list_is_not_taken_for_answered() -> None:
    calls = Calls()
    served(calls)
    calls.listed(listed("mcp_1"), 0)
    calls.listed(listed(), 0)
    calls.settle(10 * S)
    assert not calls.ready()


def test_an_interruption_does_not_cancel_a_function_that_the_server_runs() -> None:
    calls = Calls(cancels=True)
    served(calls)
    assert calls.to_cancel("speech_started") == []
    assert calls.server_ran("mcp_1", 7, ok=False)
    assert not calls.ready()  # Nobody wants an answer any more.


@pytest.mark.parametrize(("approve", "asks"), [(True, False), (False, True)])
def test_a_denial_asks_for_an_answer_and_an_approval_waits_for_the_function(
    approve: bool, asks: bool
) -> None:
    calls = Calls()
    answer = objects.Item(
        "output_1", "mcp_approval_response", approval_request_id="mcpr_1", approve=approve
    )
    calls.item_added(answer)
    assert calls.ready() == asks


def test_the_servers_own_calls_and_approvals_end_with_the_session() -> None:
    calls = Calls()
    calls.complete("resp_1", item(), 7)
    asks = objects.Item(
        "mcpr_1", "mcp_approval_request", name="delete", arguments="{}", server_label="files"
    )
    calls.complete("resp_1", asks, 7)
    served(calls)
    told = calls.begin_session(8)
    assert [(t.action, t.call_id) for t in told if isinstance(t, messages.ToolCall)] == [
        ("cancel", "mcp_1"),
        ("cancel", "mcpr_1"),
    ]
    assert calls.begin_session(9) == []
    calls.item_added(output())  # The function of our own goes on.
    assert calls.ready()


def test_a_call_says_when_the_person_began_the_turn_that_its_response_answers() -> None:
    calls = Calls()

    def spoke_ns(call_id: str) -> int:
        call = calls.complete("resp_1", item(call_id), 7)
        assert call is not None
        return call.spoke_ns

    calls.response_created()
    assert spoke_ns("call_1") == 0
    calls.person_spoke(5 * S)
    assert spoke_ns("call_2") == 0  # The response began before the turn.
    calls.response_created()
    assert spoke_ns("call_3") == 5 * S


def test_an_interruption_cancels_the_calls_that_run_if_the_settings_say_so() -> None:
    for cancels in (False, True):
        calls = Calls(cancels=cancels)
        calls.complete("resp_1", item(), 7)
        assert calls.to_cancel("abandoned") == []
        found = calls.to_cancel("speech_started")
        assert [m.action for m in found if isinstance(m, messages.ToolCall)] == ["cancel"] * cancels
        # Nobody wants an answer to a call that was cancelled.
        calls.item_added(output())
        assert calls.ready() is not cancels


# when the answer is asked for


def test_the_answer_waits_for_the_outputs_of_all_calls_of_a_response() -> None:
    calls = Calls()
    calls.complete("resp_1", item("call_1"), 7)
    calls.complete("resp_1", item("call_2"), 7)
    calls.complete("resp_2", item("call_3"), 7)
    calls.item_added(output("call_1"))
    assert not calls.ready()
    calls.item_added(output("call_2"))
    # The call of another response still runs.
    assert calls.ready()
    calls.answer_asked()
    assert not calls.ready()
    calls.response_created()
    calls.item_added(output("call_3"))
    assert calls.ready()


def test_a_response_answers_only_what_is_whole_when_it_begins() -> None:
    calls = Calls()
    calls.complete("resp_1", item("call_1"), 7)
    calls.complete("resp_1", item("call_2"), 7)
    calls.item_added(output("call_1"))
    calls.response_created()
    calls.item_added(output("call_2"))
    assert calls.ready()


def test_an_output_that_a_new_session_gets_with_the_history_asks_for_nothing() -> None:
    calls = Calls()
    calls.item_added(output(prefix="item_"))
    assert not calls.ready()


def test_a_notice_of_a_function_asks_for_an_answer() -> None:
    calls = Calls()
    calls.item_added(objects.Item("notice_1", "message", "system"))
    assert calls.ready()


def test_an_output_that_the_server_does_not_announce_counts_after_a_while() -> None:
    calls = Calls()
    calls.complete("resp_1", item(), 7)
    calls.listed(listed("call_1"), 0)
    calls.listed(listed(), 5 * S)
    calls.listed(listed(), 5 * S + 10)
    calls.settle(5 * S + UNANNOUNCED_NS - 1)
    assert not calls.ready()
    assert list(calls.deadlines_ns()) == [5 * S + UNANNOUNCED_NS]
    calls.settle(5 * S + UNANNOUNCED_NS)
    assert calls.ready()
    assert list(calls.deadlines_ns()) == []


def test_a_call_that_waits_for_an_approval_has_an_output() -> None:
    """A server that announces no outputs lets the assistant ask all the same."""
    calls = Calls()
    calls.complete("resp_1", item(), 7)
    asking = messages.ToolState(calls=[messages.ToolRun("call_1", "clock", "asking", "1")])
    calls.listed(asking, 5 * S)
    calls.settle(5 * S + UNANNOUNCED_NS)
    assert calls.ready()


def test_a_call_that_tools_never_listed_does_not_count_as_answered() -> None:
    calls = Calls()
    calls.complete("resp_1", item(), 7)
    calls.listed(listed(), 0)
    calls.settle(60 * S)
    assert not calls.ready()


# the answer, among everything else that is decided


def decisions(decide: str = "server", **rules: Any) -> Decisions:
    detection = TurnDetection(create_response=rules.pop("create_response", True))
    made = Decisions(
        Config(
            interruption=Interruption(decide=decide),  # type: ignore[arg-type]
            session=Session(turn_detection=detection),
            tools=Tools(),
        ),
        100,
    )
    made.begin_session(1)
    return made


def called(made: Decisions, now_ns: int = 0) -> None:
    """Let a response call a function, and the server get the output."""
    made.response_created(out_of_band=False, now_ns=now_ns)
    made.assistant(playing=False, generating=True, active=True, now_ns=now_ns)
    made.calls.complete("resp_1", item(), 1)
    made.calls.item_added(output())
    made.weigh(now_ns)


@pytest.mark.parametrize("decide", ["server", "client", "push_to_talk", "never"])
def test_the_answer_is_asked_for_when_no_response_is_active(decide: str) -> None:
    made = decisions(decide)
    called(made)
    assert made.decision().answer == 0
    made.assistant(playing=False, generating=False, active=False, now_ns=S)
    assert made.decision().answer == 101
    made.response_created(out_of_band=False, now_ns=S)
    made.assistant(playing=False, generating=False, active=False, now_ns=2 * S)
    assert made.decision().answer == 0


def test_an_answer_that_the_server_refused_is_asked_for_again() -> None:
    made = decisions()
    called(made)
    made.assistant(playing=False, generating=False, active=False, now_ns=S)
    refusal = objects.ServerError(code="conversation_already_has_active_response")
    made.error(events.ErrorEvent(refusal), S)
    assert made.decision().answer == 0
    made.response_done(2 * S)
    assert made.decision().answer == 102


def test_the_answer_is_held_while_the_person_speaks() -> None:
    made = decisions()
    made.speech_started(events.SpeechStarted(0, "item_1"), 0)
    called(made, S)
    made.assistant(playing=False, generating=False, active=False, now_ns=2 * S)
    assert made.decision().answer == 0
    made.speech_stopped(events.SpeechStopped(2000, "item_1"), 3 * S)
    made.committed(events.Committed("item_1"), 3 * S)
    assert made.decision().answer == 0
    # The server's own response to these words answers the call as well.
    made.response_created(out_of_band=False, now_ns=4 * S)
    made.assistant(playing=False, generating=False, active=False, now_ns=5 * S)
    assert made.decision().answer == 0
    assert not made.calls.ready()


def test_the_answer_is_not_held_for_ever_if_the_server_does_not_answer() -> None:
    made = decisions()
    made.speech_started(events.SpeechStarted(0, "item_1"), 0)
    called(made, S)
    made.assistant(playing=False, generating=False, active=False, now_ns=2 * S)
    made.speech_stopped(events.SpeechStopped(2000, "item_1"), 3 * S)
    due_ns = made.due_ns(3 * S)
    assert due_ns == 8 * S
    made.weigh(due_ns)
    assert made.decision().answer == 101


def test_the_answer_is_not_held_if_nobody_answers_turns() -> None:
    made = decisions(create_response=False)
    made.speech_started(events.SpeechStarted(0, "item_1"), 0)
    called(made, S)
    made.assistant(playing=False, generating=False, active=False, now_ns=2 * S)
    assert made.decision().answer == 101


def test_the_answer_is_held_while_the_button_is_pressed() -> None:
    made = decisions("push_to_talk")
    made.set_button(pressed=True, at_ns=1)
    called(made, S)
    made.assistant(playing=False, generating=False, active=False, now_ns=2 * S)
    assert made.decision().answer == 0
    made.set_button(pressed=False, at_ns=2)
    made.weigh(3 * S)
    assert made.decision().answer == 101


def test_an_answer_that_is_interrupted_before_it_begins_is_flushed_when_it_begins() -> None:
    made = decisions()
    called(made)
    made.assistant(playing=False, generating=False, active=False, now_ns=S)
    made.flushed(7, 2 * S)
    assert made.response_created(out_of_band=False, now_ns=3 * S)
