"""The calls: each is run once, some at a time, and some only after an approval."""

from __future__ import annotations

import pytest

from services.tools import call_queue
from services.tools.call_queue import BadAnswer, CallQueue, Job

pytestmark = pytest.mark.unit


def jobs(count: int) -> list[Job]:
    return [Job(f"call_{n}", "clock", "{}") for n in range(count)]


def states(book: CallQueue) -> list[tuple[str, str]]:
    return [(run.call_id, run.state) for run in book.state().calls]


def test_a_call_is_taken_once() -> None:
    book = CallQueue(1, [])
    assert book.take("call_1")
    assert not book.take("call_1")


def test_as_many_calls_run_as_may() -> None:
    book = CallQueue(2, [])
    first, second, third = jobs(3)
    for job in (first, second, third):
        assert book.queue(job)
    assert book.start() == [first, second]
    assert states(book) == [("call_0", "running"), ("call_1", "running"), ("call_2", "queued")]
    assert book.start() == []
    book.finish(first)
    assert book.start() == [third]


def test_too_many_calls_are_refused() -> None:
    book = CallQueue(1, [])
    assert all(book.queue(job) for job in jobs(call_queue.MAX_QUEUED))
    assert not book.queue(Job("one more", "clock", "{}"))
    assert len(book.state().calls) <= 64


def test_only_a_call_that_has_not_started_is_taken_back() -> None:
    book = CallQueue(1, [])
    first, second = jobs(2)
    book.queue(first)
    book.queue(second)
    book.start()
    assert book.cancel("call_0") is None
    assert book.cancel("call_1") == second
    book.finish(first)
    assert book.start() == []


@pytest.mark.parametrize(
    ("name", "asks"), [("delete_file", True), ("light", True), ("lights", False), ("clock", False)]
)
def test_a_pattern_says_which_functions_need_an_approval(name: str, asks: bool) -> None:
    assert CallQueue(1, ["*delete*", "light"]).needs_approval(name) is asks


def test_an_approval_is_answered_by_its_number() -> None:
    book = CallQueue(1, ["*"])
    first = book.ask("call_1", "light", '{"room":"kitchen"}')
    second = book.ask("mcpr_1", "search", "{}", "docs")
    assert (first.number, first.summary) == ("1", 'light(room="kitchen")')
    assert second.summary == "search() at docs"
    assert states(book) == [("call_1", "asking"), ("mcpr_1", "asking")]
    with pytest.raises(BadAnswer, match="give one of these numbers: 1: light"):
        book.answered("")
    with pytest.raises(BadAnswer, match="2: search"):
        book.answered("7")
    assert book.answered("mcpr_1") is second
    # The only one that is left needs no number.
    assert book.answered("") is first
    with pytest.raises(BadAnswer, match="nothing waits"):
        book.answered("1")


def test_two_approved_calls_of_a_function_with_the_same_arguments_are_two_calls() -> None:
    book = CallQueue(2, ["*"])
    for call_id in ("call_1", "call_2"):
        book.ask(call_id, "light", "{}")
        asking = book.answered(call_id)
        book.queue(Job(asking.call_id, asking.name, asking.arguments, has_output=True))
    first, _ = book.start()
    book.finish(first)
    assert states(book) == [("call_2", "running")]


def test_few_approvals_are_waited_for() -> None:
    book = CallQueue(1, ["*"])
    for number in range(call_queue.MAX_ASKING + 5):
        book.ask(f"call_{number}", "light", "{}")
    assert len(book.state().calls) == call_queue.MAX_ASKING
    with pytest.raises(BadAnswer):
        book.answered("1")


def test_long_arguments_are_shortened_for_a_person() -> None:
    said = call_queue.summary("write", '{"text":"' + "x" * 10_000 + '"}')
    assert len(said) < 400
    assert said.endswith("…)")
    assert call_queue.summary("write", "no JSON") == "write(no JSON)"


def test_a_function_that_the_server_runs_is_listed_while_it_runs() -> None:
    call_queue = CallQueue(1, [])
    call_queue.server_runs("mcp_1", "search", '{"word":"tea"}', "docs", 2_000_000)
    [run] = call_queue.state().calls
    assert (run.call_id, run.state, run.summary) == (
        "mcp_1",
        "running",
        'search(word="tea") at docs',
    )
    assert call_queue.server_ran("mcp_1", 9_000_000) == (7, 'search(word="tea") at docs')
    assert call_queue.state().calls == []
    assert call_queue.server_ran("mcp_1", 9_000_000) == (0, "")


def test_the_servers_own_calls_and_approvals_can_be_withdrawn() -> None:
    call_queue = CallQueue(1, [])
    call_queue.ask("call_1", "light", "{}")
    call_queue.ask("mcpr_1", "search", "{}", "docs")
    call_queue.server_runs("mcp_1", "search", "{}", "docs", 0)
    names = [run.name for name in ("call_1", "mcpr_1", "mcp_1", "mcp_2")
             if (run := call_queue.withdraw(name))]  # fmt: skip
    assert names == ["search", "search"]
    assert [run.call_id for run in call_queue.state().calls] == ["call_1"]


def test_only_a_turn_of_the_person_after_the_request_approves_a_call() -> None:
    book = CallQueue(1, ["*"])
    first = book.ask("call_1", "light", "{}", at_ns=100)
    for spoke_ns in (0, 99, 100):
        with pytest.raises(BadAnswer, match="the person has not answered yet"):
            book.answered_by_voice("1", spoke_ns, approved=True)
        with pytest.raises(BadAnswer, match="the person has not answered yet"):
            book.answered_by_voice("", spoke_ns, approved=False)
    assert states(book) == [("call_1", "asking")]
    assert book.answered_by_voice("1", 101, approved=True) is first
    with pytest.raises(BadAnswer, match="nothing waits"):
        book.answered_by_voice("1", 200, approved=True)


def test_one_turn_of_the_person_approves_one_call() -> None:
    book = CallQueue(1, ["*"])
    book.ask("call_1", "light", "{}", at_ns=100)
    book.ask("call_2", "delete", "{}", at_ns=100)
    book.answered_by_voice("1", 200, approved=True)
    with pytest.raises(BadAnswer, match="the person has not answered yet"):
        book.answered_by_voice("2", 200, approved=True)
    # The same words can deny it, and later words can approve it.
    third = book.ask("call_3", "erase", "{}", at_ns=100)
    assert book.answered_by_voice("3", 200, approved=False) is third
    assert book.answered_by_voice("2", 300, approved=True).call_id == "call_2"
