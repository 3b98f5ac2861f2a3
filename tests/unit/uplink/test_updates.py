"""The ``session.update`` events: functions and MCP servers in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.uplink import mcp_servers
from services.uplink.updates import Updates
from shared.settings import McpServer, Session
from tests.support.openai_types import client_events, unknown_fields

pytestmark = pytest.mark.unit

CLOCK = {
    "type": "function",
    "name": "clock",
    "description": "Tell the time.",
    "parameters": {"type": "object", "properties": {}},
}
DOCS = McpServer(label="docs", url="https://example.com/mcp", require_approval="never")


def read(updates: list[bytes]) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in updates]
    for event in found:
        parsed = client_events()[event["type"]].model_validate(event, strict=True)
        assert unknown_fields(parsed) == []
    return [event["session"] for event in found]


def updates(**settings: Any) -> Updates:
    said: list[str] = []
    made = Updates(Session(**settings), lambda _, text: said.append(text))
    assert said == []
    return made


def test_a_new_offer_updates_only_the_functions() -> None:
    made = updates()
    assert all("tools" not in session for session in read(made.all()))
    [session] = read(made.offer([CLOCK]))
    assert session == {"type": "realtime", "tools": [CLOCK]}
    assert made.offer([CLOCK]) == []
    # The settings can name a function, which the server has to know then.
    first, second = read(made.all())
    assert first == {"type": "realtime", "tools": [CLOCK]}
    assert "audio" in second
    assert "tools" not in second
    [session] = read(made.offer([]))
    assert session["tools"] == []


def test_no_functions_are_no_update() -> None:
    assert updates().offer([]) == []


def test_the_servers_of_the_server_stay_beside_the_functions() -> None:
    made = updates(mcp=[DOCS])
    served = {
        "type": "mcp",
        "server_label": "docs",
        "server_url": "https://example.com/mcp",
        "require_approval": "never",
    }
    assert read(made.all())[0]["tools"] == [served]
    [session] = read(made.offer([CLOCK]))
    assert session["tools"] == [served, CLOCK]


def test_a_header_can_be_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("Bearer two\n")
    server = McpServer(
        label="docs",
        url="https://example.com/mcp",
        headers={"A": "env:ONE", "B": f"file:{secret}", "C": "plain"},
        allowed_tools=["search"],
        require_approval={"never": {"tool_names": ["search"]}},
    )
    entry = mcp_servers.entry(server, {"ONE": "Bearer one"})
    assert entry["headers"] == {"A": "Bearer one", "B": "Bearer two", "C": "plain"}
    made = updates()
    read(made.offer([entry]))


def test_a_connector_gets_its_token_by_itself() -> None:
    server = McpServer(
        label="mail", connector="connector_gmail", headers={"Authorization": "Bearer x"}
    )
    entry = mcp_servers.entry(server, {})
    assert (entry["connector_id"], entry["authorization"]) == ("connector_gmail", "x")
    assert "headers" not in entry
    read(updates().offer([entry]))


def test_a_server_whose_secret_is_missing_is_left_out() -> None:
    said: list[str] = []
    server = McpServer(label="docs", url="https://e.com", headers={"A": "env:NOT_THERE_7"})
    found = mcp_servers.entries([server, DOCS], lambda _, text: said.append(text))
    assert [each["server_label"] for each in found] == ["docs"]
    assert said == [
        "session.mcp: docs: the environment has no variable NOT_THERE_7: the server is left out"
    ]
