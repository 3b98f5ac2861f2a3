"""Tools publishes a person's answer to a call: for the model, and for viewers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.owner import StandIn
from services.tools.approvals import Approvals
from services.tools.call_queue import CallQueue, Job
from services.tools.results import Results
from shared import codec, messages

pytestmark = pytest.mark.unit

CALL = Job("call_1", "light", '{"room":"hall"}')
SUMMARY = 'light(room="hall")'
#: The kinds of results that uplink sends to the server, and those that viewers show.
FOR_MODEL, FOR_VIEWERS = ("output", "model_only", "notice"), ("output", "outcome", "approval")


class Rig:
    """Approvals, with a queue and a stage that keeps what is published."""

    def __init__(self) -> None:
        self.stage = StandIn()
        self.calls = CallQueue(1, ["*"])
        self.results = Results(self.stage)
        self.run: list[Job] = []
        self.approvals = Approvals(
            self.stage, self.calls, self.results, self.run.append, by_voice=True
        )

    def told(self, *kinds: str) -> list[tuple[str, str, bool, str]]:
        """Return what was published of these kinds, and forget everything."""
        results = [r for r in self.stage.published if isinstance(r, messages.ToolResult)]
        self.stage.published.clear()
        return [
            (r.what, r.call_id, r.ok, codec.read_output(r.payload).text)
            for r in results
            if r.what in kinds
        ]

    def control(self, command: Any) -> None:
        self.approvals.control(messages.Control(command=command, id="call_1"))

    def passed_on(self, *, approved: bool) -> None:
        arguments = json.dumps({"number": "1", "approved": approved})
        self.approvals.passed_on(Job("call_2", "answer_approval", arguments), spoke_ns=2)


@pytest.fixture
def rig() -> Rig:
    """Return a rig in which the call waits for an approval."""
    made = Rig()
    made.approvals.ask(CALL, at_ns=1)
    [(what, call_id, ok, text)] = made.told(*FOR_MODEL, *FOR_VIEWERS)
    assert (what, call_id, ok) == ("model_only", "call_1", True)
    assert f"Ask the person whether you may run {SUMMARY}" in text
    return made


def test_a_call_that_a_button_approves_keeps_its_id_and_the_model_gets_a_notice(rig: Rig) -> None:
    rig.control("approve")
    assert rig.told(*FOR_VIEWERS) == [("approval", "call_1", True, "")]
    [job] = rig.run
    assert job.call_id == "call_1"
    rig.results.output(job, messages.ToolOutput("The light is on.", ["data:x"]), ok=True)
    [outcome, notice] = rig.stage.published
    assert isinstance(outcome, messages.ToolResult)
    assert isinstance(notice, messages.ToolResult)
    assert (outcome.what, outcome.call_id, outcome.summary) == ("outcome", "call_1", SUMMARY)
    assert codec.read_output(notice.payload).images == ["data:x"]
    returned = f"{SUMMARY}, which the person has approved, returned: The light is on."
    assert rig.told(*FOR_MODEL) == [("notice", "", True, f"{returned}\nTell the person.")]


def test_a_call_that_a_button_denies_is_shown_as_denied(rig: Rig) -> None:
    rig.control("deny")
    assert rig.run == []
    assert rig.told(*FOR_MODEL, *FOR_VIEWERS) == [
        ("approval", "call_1", False, ""),
        ("notice", "", True, f"The person has denied {SUMMARY}. It was not done."),
    ]


def test_the_output_of_a_call_approved_by_voice_is_that_of_the_call_that_passed_it_on(
    rig: Rig,
) -> None:
    rig.passed_on(approved=True)
    assert rig.told(*FOR_MODEL, *FOR_VIEWERS) == [("approval", "call_1", True, "")]
    [job] = rig.run
    rig.results.output(job, messages.ToolOutput("The light is on."), ok=True)
    assert rig.told(*FOR_MODEL, *FOR_VIEWERS) == [("output", "call_2", True, "The light is on.")]


def test_a_call_denied_by_voice_is_shown_as_denied_and_the_model_is_told_once(rig: Rig) -> None:
    rig.passed_on(approved=False)
    assert rig.run == []
    assert rig.told(*FOR_MODEL, *FOR_VIEWERS) == [
        ("approval", "call_1", False, ""),
        ("model_only", "call_2", True, f"The person has denied {SUMMARY}. It was not done."),
    ]


def test_an_answer_that_fits_no_call_is_refused(rig: Rig) -> None:
    rig.approvals.control(messages.Control(command="approve", id="7"))
    assert rig.stage.counters["commands_refused"] == 1
    rig.approvals.passed_on(Job("call_2", "answer_approval", '{"number":"7"}'), spoke_ns=2)
    [(what, _, ok, text)] = rig.told(*FOR_MODEL)
    assert (what, ok) == ("model_only", False)
    assert text.startswith("Error: ")
    assert rig.run == []


@pytest.mark.parametrize(("command", "ok"), [("approve", True), ("deny", False)])
def test_the_servers_request_gets_the_persons_answer_and_runs_nothing_here(
    command: str, ok: bool
) -> None:
    rig = Rig()
    rig.approvals.ask_for_server(Job("call_1", "search", "{}"), "docs", at_ns=1)
    [(what, *_)] = rig.told(*FOR_MODEL, *FOR_VIEWERS)
    assert what == "notice"
    rig.control(command)
    [answer] = rig.stage.published
    assert isinstance(answer, messages.ToolResult)
    assert (answer.what, answer.server, answer.ok) == ("approval", "docs", ok)
    assert rig.run == []
