"""The calls: each is run once, some at a time, and some only after an approval."""

from __future__ import annotations

import pytest

from services.tools import call_queue
from services.tools.call_queue import BadAnswer, CallQueue, Job

pytestmark = pytest.mark.unit


def jobs(count: int) -> list[Job]:
    return [Job(f"call_{n}", "clock", "{}") for n in range(count)]


def states(calls: CallQueue) -> list[tuple[str, str]]:
    return [(run.call_id, run.state) for run in calls.state().calls]


def test_a_call_is_taken_once() -> None:
    calls = CallQueue(1, [])
    assert calls.take("call_1")
    assert not calls.take("call_1")


def test_as_many_calls_run_as_may() -> None:
    calls = CallQueue(2, [])
    first, second, third = jobs(3)
    for job in (first, second, third):
        assert calls.queue(job)
    assert calls.start() == [first, second]
    assert states(calls) == [("call_0", "running"), ("call_1", "running"), ("call_2", "queued")]
    assert calls.start() == []
    calls.finish(first)
    assert calls.start() == [third]


def test_too_many_calls_are_refused() -> None:
    calls = CallQueue(1, [])
    assert all(calls.queue(job) for job in jobs(call_queue.MAX_QUEUED))
    assert not calls.queue(Job("one more", "clock", "{}"))
    assert len(calls.state().calls) <= 64


def test_only_a_call_that_has_not_started_is_taken_back() -> None:
    calls = CallQueue(1, [])
    first, second = jobs(2)
    calls.queue(first)
    calls.queue(second)
    calls.start()
    assert calls.cancel("call_0") is None
    assert calls.cancel("call_1") == second
    calls.finish(first)
    assert calls.start() == []


@pytest.mark.parametrize(
    ("name", "asks"), [("delete_file", True), ("light", True), ("lights", False), ("clock", False)]
)
def test_a_pattern_says_which_functions_need_an_approval(name: str, asks: bool) -> None:
    assert CallQueue(1, ["*delete*", "light"]).needs_approval(name) is asks


def test_an_approval_is_answered_by_its_number() -> None:
    calls = CallQueue(1, ["*"])
    first = calls.ask("call_1", "light", '{"room":"kitchen"}')
    second = calls.ask("mcpr_1", "search", "{}", "docs")
    assert (first.number, first.summary) == ("1", 'light(room="kitchen")')
    assert second.summary == "search() at docs"
    assert states(calls) == [("call_1", "asking"), ("mcpr_1", "asking")]
    with pytest.raises(BadAnswer, match="give one of these numbers: 1: light"):
        calls.answered("")
    with pytest.raises(BadAnswer, match="2: search"):
        calls.answered("7")
    assert calls.answered("mcpr_1") is second
    # The only one that is left needs no number.
    assert calls.answered("") is first
    with pytest.raises(BadAnswer, match="nothing waits"):
        calls.answered("1")


def test_few_approvals_are_waited_for() -> None:
    calls = CallQueue(1, ["*"])
    for number in range(call_queue.MAX_ASKING + 5):
        calls.ask(f"call_{number}", "light", "{}")
    assert len(calls.state().calls) == call_queue.MAX_ASKING
    with pytest.raises(BadAnswer):
        calls.answered("1")


def test_long_arguments_are_shortened_for_a_person() -> None:
    said = call_queue.summary("write", '{"text":"' + "x" * 10_000 + '"}')
    assert len(said) < 400
    assert said.endswith("…)")
    assert call_queue.summary("write", "no JSON") == "write(no JSON)"


def test_a_function_that_the_server_runs_is_listed_while_it_runs() -> None:
    call_queue = CallQueue(1, [])
    call_queue.serve("mcp_1", "search", '{"word":"tea"}', "docs", 2_000_000)
    [run] = call_queue.state().calls
    assert (run.call_id, run.state, run.summary) == (
        "mcp_1",
        "running",
        'search(word="tea") at docs',
    )
    assert call_queue.served("mcp_1", 9_000_000) == 7
    assert call_queue.state().calls == []
    assert call_queue.served("mcp_1", 9_000_000) == 0


def test_what_the_server_runs_or_asks_for_can_be_withdrawn() -> None:
    call_queue = CallQueue(1, [])
    call_queue.ask("call_1", "light", "{}")
    call_queue.ask("mcpr_1", "search", "{}", "docs")
    call_queue.serve("mcp_1", "search", "{}", "docs", 0)
    names = [run.name for name in ("call_1", "mcpr_1", "mcp_1", "mcp_2")
             if (run := call_queue.withdraw(name))]  # fmt: skip
    assert names == ["search", "search"]
    assert [run.call_id for run in call_queue.state().calls] == ["call_1"]
