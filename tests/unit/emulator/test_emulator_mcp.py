"""MCP servers of a session: lists, calls and approvals, with every event checked strictly."""

from __future__ import annotations

from typing import Any

import pytest

from services.emulator.mcp_servers import Failed
from services.emulator.options import Options
from tests.support.emulator import Event, Rig, kinds, of, one

pytestmark = pytest.mark.unit

DOCS: Event = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "http://127.0.0.1:9/mcp",
    "headers": {"Authorization": "Bearer x"},
    "require_approval": "never",
}
LOOKUP = {
    "name": "lookup",
    "description": "Look a word up.",
    "input_schema": {
        "type": "object",
        "properties": {"word": {"type": "string", "default": "tea"}},
        "required": ["word"],
    },
    "annotations": None,
}
BEGAN, ENDED = "response.mcp_call.in_progress", "response.mcp_call.completed"


def rig(**fields: Any) -> Rig:
    """Return a session with an MCP server whose functions are known."""
    made = Rig(Options(reply="tone:1"))
    made.update(tools=[DOCS | fields], output_modalities=["text"])
    run(made, [LOOKUP, LOOKUP | {"name": "erase"}])
    return made


def run(made: Rig, result: Any) -> list[Event]:
    """Run the only errand of a session; return the events that follow."""
    [errand] = made.session.errands()
    made.session.ran(errand, result, made.now)
    return made.run(0)


def ask(made: Rig) -> list[Event]:
    """Have a function called; return the events of the response."""
    begun = made.send("response.create", response={"instructions": "Please lookup it."})
    return begun + made.run(2)


def test_the_functions_of_a_new_server_are_listed() -> None:
    made = Rig()
    begun = made.update(tools=[DOCS])
    assert kinds(begun) == [
        "session.updated",
        "conversation.item.added",
        "mcp_list_tools.in_progress",
    ]
    [errand] = made.session.errands()
    assert (errand.name, errand.server) == ("", DOCS)
    made.session.ran(errand, [LOOKUP], made.now)
    ended = made.run(0)
    assert kinds(ended) == ["mcp_list_tools.completed", "conversation.item.done"]
    assert one(ended, "conversation.item.done")["item"]["tools"] == [LOOKUP]
    # The same server again is no news.
    assert kinds(made.update(tools=[DOCS], instructions="x")) == ["session.updated"]


def test_a_server_that_cannot_be_reached_has_no_functions() -> None:
    made = Rig(Options(reply="tone:1"))
    made.update(tools=[DOCS], output_modalities=["text"])
    ended = run(made, Failed("http_error", "no", 403))
    assert kinds(ended) == ["mcp_list_tools.failed", "conversation.item.done"]
    assert [e["item"]["type"] for e in of(ask(made), "response.output_item.added")] == ["message"]


def test_a_call_runs_after_its_response_and_is_answered_only_on_request() -> None:
    made = rig()
    events = ask(made)
    assert kinds(events, "rate_limits.updated") == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.done",
        "response.output_item.done",
        "response.done",
        BEGAN,
    ]
    ended = run(made, "tea is a drink")
    assert kinds(ended) == [ENDED, "conversation.item.done"]
    item = one(ended, "conversation.item.done")["item"]
    assert (item["name"], item["arguments"], item["output"]) == (
        "lookup",
        '{"word": "tea"}',
        "tea is a drink",
    )
    assert made.run(60) == []
    made.send("response.create")
    said = one(made.run(5), "response.output_text.done")["text"]
    assert "tea is a drink" in said


def test_a_call_that_fails_says_why() -> None:
    made = rig()
    ask(made)
    ended = run(made, Failed("tool_execution_error", "no such word"))
    assert kinds(ended) == ["response.mcp_call.failed", "conversation.item.done"]
    item = one(ended, "conversation.item.done")["item"]
    assert item["error"] == {"type": "tool_execution_error", "message": "no such word"}
    made.send("response.create")
    assert "no such word" in one(made.run(5), "response.output_text.done")["text"]


def test_a_call_waits_for_its_approval() -> None:
    made = rig(require_approval="always")
    events = ask(made)
    added = [e["item"] for e in of(events, "response.output_item.added")]
    assert [item["type"] for item in added] == ["mcp_call", "mcp_approval_request"]
    request = added[1]
    assert (request["name"], request["arguments"]) == ("lookup", '{"word": "tea"}')
    assert not of(events, BEGAN)
    assert made.session.errands() == []
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"]}
    told = made.send("conversation.item.create", item={**answer, "id": "a_1", "approve": True})
    assert kinds(told) == ["conversation.item.added", "conversation.item.done", BEGAN]
    assert kinds(run(made, "tea")) == [ENDED, "conversation.item.done"]
    again = made.send("conversation.item.create", item={**answer, "id": "a_2", "approve": True})
    assert "already answered" in one(again, "error")["error"]["message"]


def test_a_call_that_is_denied_never_runs() -> None:
    made = rig(require_approval={"never": {"tool_names": ["erase"]}})
    [request] = [e["item"]["id"] for e in of(ask(made), "conversation.item.done")
                 if e["item"]["type"] == "mcp_approval_request"]  # fmt: skip
    answer = {"type": "mcp_approval_response", "id": "a_1", "approval_request_id": request}
    told = made.send("conversation.item.create", item={**answer, "approve": False})
    assert kinds(told) == ["conversation.item.added", "conversation.item.done"]
    assert made.session.errands() == []


def test_a_server_can_be_asked_for_by_name_and_its_functions_be_limited() -> None:
    made = rig(allowed_tools=["erase"])
    choice = {"type": "mcp", "server_label": "docs"}
    begun = made.send("response.create", response={"tool_choice": choice})
    [added] = of(begun, "response.output_item.added")
    made.run(2)
    assert added["item"]["name"] == "erase"
    refused = made.send("response.create", response={"tool_choice": choice | {"name": "lookup"}})
    assert "'lookup' not found" in one(refused, "error")["error"]["message"]
