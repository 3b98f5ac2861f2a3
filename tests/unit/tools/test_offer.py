"""The offer, the file that names the servers, and the limits of an output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.tools import mcp_file, offer, outputs
from services.tools.call_queue import CallQueue
from services.tools.mcp_file import BadFile, Server
from services.tools.offer import Tool
from shared.messages import ToolOutput
from tests.support.openai_types import client_events, unknown_fields

pytestmark = pytest.mark.unit


def tool(name: str, **parameters: Any) -> Tool:
    return Tool(name, "What it does.", parameters)


def test_every_entry_is_one_of_the_api() -> None:
    offered, faults = offer.build([("a", [tool("one"), tool("two", required=[])])])
    session = {"type": "realtime", "tools": [each.entry for each in offered]}
    event = {"type": "session.update", "session": session}
    parsed = client_events()["session.update"].model_validate(event, strict=True)
    assert unknown_fields(parsed) == []
    assert faults == []
    assert offered[0].entry["parameters"]["type"] == "object"


def test_names_are_made_fit_and_different() -> None:
    offered, faults = offer.build(
        [("a", [tool("one.two"), tool("x" * 90)]), ("b b", [tool("one_two")]), ("b", [])]
    )
    assert [each.name for each in offered] == ["one_two", "x" * 64, "b_b_one_two"]
    assert [each.source for each in offered] == ["a", "a", "b b"]
    assert faults == [
        "a: 'one.two' is offered as 'one_two'",
        f"a: '{'x' * 90}' is offered as '{'x' * 64}'",
        "b b: 'one_two' is offered as 'b_b_one_two'",
    ]


def test_a_function_has_the_names_that_a_person_knows() -> None:
    """A pattern of ``tools.ask`` holds, whichever server gets the bare name."""
    offered, _ = offer.build([("home", [tool("delete")]), ("web", [tool("delete"), tool("a.b")])])
    assert [each.names for each in offered] == [
        ("delete", "delete", "home_delete"),
        ("web_delete", "delete", "web_delete"),
        ("a_b", "a.b", "web_a.b"),
    ]
    calls = CallQueue(1, ["delete"])
    assert [calls.needs_approval(*each.names) for each in offered] == [True, True, False]


def test_no_function_takes_the_name_of_the_one_that_passes_on_an_approval() -> None:
    offered, _ = offer.build([("a", [tool("answer_approval")])], taken=("answer_approval",))
    assert [each.name for each in offered] == ["a_answer_approval"]


def test_a_name_that_cannot_be_told_apart_is_left_out() -> None:
    offered, faults = offer.build([("a", [tool("one"), tool("a_one"), tool("one")])])
    assert [each.name for each in offered] == ["one", "a_one"]
    assert faults == ["a: 'one' is not offered: its name is taken"]


def test_a_schema_that_the_api_refuses_is_replaced() -> None:
    [found], _ = offer.build([("a", [tool("one", anyOf=[{"type": "object"}])])])
    assert found.entry["parameters"] == {"type": "object", "properties": {}, "required": []}


def test_no_more_is_offered_than_fits() -> None:
    offered, faults = offer.build([("a", [tool(f"f{n}") for n in range(200)])])
    assert len(offered) == offer.MAX_FUNCTIONS
    assert faults == [
        "72 functions are over the API's limit of 128: f128, f129, f130, f131, f132, …",
    ]
    long = {"properties": {"a": {"description": "x" * 300_000}}}
    offered, faults = offer.build([("a", [tool("one", **long), tool("two", **long), tool("b")])])
    assert [each.name for each in offered] == ["one", "b"]
    assert "its schema is too long" in faults[0]


def test_a_server_with_many_odd_names_is_not_many_lines() -> None:
    offered, faults = offer.build([("a", [tool(f"do.{n}") for n in range(20)])])
    assert [each.name for each in offered[:2]] == ["do_0", "do_1"]
    assert len(faults) == 6
    assert faults[0] == "a: 'do.0' is offered as 'do_0'"
    assert faults[-1] == "a: 15 more have other names as well"


def servers(**given: Any) -> bytes:
    return json.dumps({"mcpServers": given}).encode()


def test_the_file_is_that_of_other_programs() -> None:
    text = servers(
        files={"command": "npx", "args": ["-y", "files"], "env": {"A": "${ONE}"}, "type": "stdio"},
        web={"url": "${URL:-http://localhost/mcp}", "headers": {"Authorization": "Bearer ${ONE}"}},
        off={"command": "npx", "disabled": True},
    )
    found, faults = mcp_file.read(text, {"ONE": "1"})
    assert found == {
        "files": Server(command="npx", args=["-y", "files"], env={"A": "1"}, type="stdio"),
        "web": Server(url="http://localhost/mcp", headers={"Authorization": "Bearer 1"}),
    }
    assert faults == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b"\xff", "not JSON"),
        (b"mcpServers:\n  a: b", "line 1 column 1"),
        (b'{\n// a\n"a":\n}', "line 4 column 1"),
        (b'{"mcpServers":[{}]}', 'expected an object with "mcpServers"'),
        (b'[{"command":"x"}]', 'expected an object with "mcpServers"'),
        (b'{"files":{"command":"x"}}', 'expected an object with "mcpServers"'),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(text: bytes, why: str) -> None:
    with pytest.raises(BadFile, match=why):
        mcp_file.read(text, {})


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({}, "expected either command or url"),
        ("x", "expected an object, with command or url"),
        ({"url": "http://y", "type": "websocket"}, "`$.type`"),
        ({"command": "x", "args": ["${input:key}"]}, "only variables of the environment"),
        ({"command": "x", "url": "http://y"}, "expected either command or url"),
        ({"url": "ftp://y"}, "url: expected http"),
        ({"command": "x", "args": "y"}, "Expected `array`"),
        ({"command": "${GONE}"}, "GONE}: the environment has no such variable"),
    ],
)
def test_a_server_that_cannot_be_used_is_left_out_and_the_others_go_on(
    server: Any, why: str
) -> None:
    found, [fault] = mcp_file.read(servers(a=server, b={"command": "x"}), {})
    assert found == {"b": Server(command="x")}
    assert fault.startswith("a: ")
    assert why in fault


X = Server(command="x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"mcpServers":{"a":{"command":"x"}}}', X),
        ('// mine\n{"mcpServers":{/* b */"a":{"command":"x",},},}', X),
        ('{"servers":{"a":{"command":"x","args":null,"enabled":true}}}', X),
        (
            '{"mcpServers":{"a":{"command":["x","//y"],"args":["z,}"]}}}',
            Server(command="x", args=["//y", "z,}"]),
        ),
        (
            '{"mcpServers":{"a":{"command":"x","args":["-p",80],"env":{"A":true,"B":1.5,"C":null}}}}',
            Server(command="x", args=["-p", "80"], env={"A": "true", "B": "1.5"}),
        ),
        ('{"mcpServers":{"a":{"command":"${env:X}"}}}', X),
        ('{"mcpServers":{"a":{"serverUrl":"http://h/mcp"}}}', Server(url="http://h/mcp")),
        ('{"mcpServers":{"a":{"httpUrl":"http://h/mcp"}}}', Server(url="http://h/mcp")),
        (
            '{"mcpServers":{"a":{"url":"http://h","transport":"sse"}}}',
            Server(url="http://h", type="sse"),
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_files_of_other_programs_are_understood(
    text: str, expected: Server, encoding: str
) -> None:
    assert mcp_file.read(text.encode(encoding), {"X": "x"}) == ({"a": expected}, [])


@pytest.mark.parametrize("text", [b"", b" \n", b"{}", b'{"mcpServers":null}', b"// nothing yet"])
def test_an_empty_file_names_no_servers(text: bytes) -> None:
    assert mcp_file.read(text, {}) == ({}, [])


def test_the_older_transport_is_told_by_its_type_or_its_address() -> None:
    assert Server(url="http://h/mcp", type="sse").is_sse
    assert Server(url="http://h/sse?key=1").is_sse
    assert not Server(url="http://h/sse", type="http").is_sse
    assert not Server(url="http://h/mcp").is_sse


def test_a_long_output_is_cut_and_says_so() -> None:
    output = outputs.cut(ToolOutput("x" * 5000), 1000)
    assert len(output.text) <= 1000
    assert output.text.endswith(
        "[cut: the output has 5000 characters, of which the first 900 are here]"
    )
    assert outputs.cut(ToolOutput("x" * 1000), 1000) == ToolOutput("x" * 1000)


def test_pictures_that_are_too_large_are_left_out() -> None:
    small, large = "data:image/png;base64,AA", "x" * (outputs.MAX_IMAGES + 1)
    output = outputs.cut(ToolOutput("look", [small, large]), 1000)
    assert output.images == [small]
    assert output.text == "look\n[1 pictures were too large and are left out]"
