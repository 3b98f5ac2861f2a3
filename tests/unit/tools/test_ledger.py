"""The calls: each is run once, some at a time, and some only after an approval."""

from __future__ import annotations

import pytest

from services.tools import ledger
from services.tools.ledger import BadAnswer, Job, Ledger

pytestmark = pytest.mark.unit


def jobs(count: int) -> list[Job]:
    return [Job(f"call_{n}", "clock", "{}") for n in range(count)]


def states(book: Ledger) -> list[tuple[str, str]]:
    return [(run.call_id, run.state) for run in book.state().calls]


def test_a_call_is_taken_once() -> None:
    book = Ledger(1, [])
    assert book.take("call_1")
    assert not book.take("call_1")


def test_as_many_calls_run_as_may() -> None:
    book = Ledger(2, [])
    first, second, third = jobs(3)
    for job in (first, second, third):
        assert book.queue(job)
    assert book.start() == [first, second]
    assert states(book) == [("call_0", "running"), ("call_1", "running"), ("call_2", "queued")]
    assert book.start() == []
    book.finish(first)
    assert book.start() == [third]


def test_too_many_calls_are_refused() -> None:
    book = Ledger(1, [])
    assert all(book.queue(job) for job in jobs(ledger.MAX_QUEUED))
    assert not book.queue(Job("one more", "clock", "{}"))
    assert len(book.state().calls) <= 64


def test_only_a_call_that_has_not_started_is_taken_back() -> None:
    book = Ledger(1, [])
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
    assert Ledger(1, ["*delete*", "light"]).needs_approval(name) is asks


def test_an_approval_is_answered_by_its_number() -> None:
    book = Ledger(1, ["*"])
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


def test_few_approvals_are_waited_for() -> None:
    book = Ledger(1, ["*"])
    for number in range(ledger.MAX_ASKING + 5):
        book.ask(f"call_{number}", "light", "{}")
    assert len(book.state().calls) == ledger.MAX_ASKING
    with pytest.raises(BadAnswer):
        book.answered("1")


def test_long_arguments_are_shortened_for_a_person() -> None:
    said = ledger.summary("write", '{"text":"' + "x" * 10_000 + '"}')
    assert len(said) < 400
    assert said.endswith("…)")
    assert ledger.summary("write", "no JSON") == "write(no JSON)"


def test_a_function_that_the_server_runs_is_listed_while_it_runs() -> None:
    ledger = Ledger(1, [])
    ledger.serve("mcp_1", "search", '{"word":"tea"}', "docs", 2_000_000)
    [run] = ledger.state().calls
    assert (run.call_id, run.state, run.summary) == (
        "mcp_1",
        "running",
        'search(word="tea") at docs',
    )
    assert ledger.served("mcp_1", 9_000_000) == 7
    assert ledger.state().calls == []
    assert ledger.served("mcp_1", 9_000_000) == 0


def test_what_the_server_runs_or_asks_for_can_be_withdrawn() -> None:
    ledger = Ledger(1, [])
    ledger.ask("call_1", "light", "{}")
    ledger.ask("mcpr_1", "search", "{}", "docs")
    ledger.serve("mcp_1", "search", "{}", "docs", 0)
    names = [run.name for name in ("call_1", "mcpr_1", "mcp_1", "mcp_2")
             if (run := ledger.withdraw(name))]  # fmt: skip
    assert names == ["search", "search"]
    assert [run.call_id for run in ledger.state().calls] == ["call_1"]
