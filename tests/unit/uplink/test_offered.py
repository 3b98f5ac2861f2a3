"""The functions that the server is offered: one that it refuses costs no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.downlink.objects import ServerError
from services.downlink.terms import Terms
from services.emulator.options import Options
from services.uplink.offered import OfferedTools
from services.uplink.requests import session_updates
from shared.config import Config
from shared.realtime.session import wanted
from shared.settings import Session
from tests.support.emulator import Rig

pytestmark = pytest.mark.unit


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **more}


class Server:
    """An emulator, and what uplink and downlink make of its answers."""

    def __init__(self, twist: str, *servers: dict[str, Any]) -> None:
        self.rig = Rig(Options(twists=(twist,)))
        self.terms = Terms(Config())
        self.offered = OfferedTools(servers)
        self.sent = 0
        self.tools: list[str] = []

    def take(self, updates: list[bytes]) -> None:
        """Send updates and whatever the answers lead to, in the order of the answers."""
        while updates:
            update, *updates = updates
            self.sent += 1
            assert self.sent < 100, "the updates never end"
            for event in self.rig.raw(update.decode()):
                if event["type"] == "error":
                    assert self.terms.refuses(ServerError(**event["error"])) == ""
                    updates += self.offered.refuse(self.terms.refused_tools)
                elif event["type"] == "session.updated":
                    self.tools = [each["name"] for each in event["session"]["tools"]]


@pytest.mark.parametrize("twist", ["refuse-function", "refuse-function-unnamed"])
@pytest.mark.parametrize("names", ["odd", "a odd b", "odd1 a odd2 odd3", "a b odd", "odd1 odd2"])
def test_only_the_refused_functions_are_left_out(twist: str, names: str) -> None:
    server = Server(twist)
    server.take(server.offered.begin_session())
    server.take(server.offered.offer([tool(name) for name in names.split()]))
    odd = [name for name in names.split() if name.startswith("odd")]
    assert server.tools == [name for name in names.split() if name not in odd]
    assert sorted(server.offered.troubles()) == odd
    # The next session gets only what the server takes, and so does an uplink that is restarted.
    server.rig = Rig(Options())
    count = len(server.terms.refused_tools)
    server.take(server.offered.begin_session())
    again = OfferedTools([])
    again.refuse(server.terms.refused_tools)
    again.offer([tool(name) for name in names.split()])
    assert sorted(again.troubles()) == odd
    assert len(server.terms.refused_tools) == count
    # A function that was mended is offered again.
    mended = [tool(name.removeprefix("odd") or "x") for name in names.split()]
    server.take(server.offered.offer(mended))
    assert len(server.tools) == len(mended)
    assert server.offered.troubles() == {}


def test_functions_that_are_refused_together_only_are_reported_and_end_the_tries() -> None:
    server = Server("refuse-voice")
    names = [f"f{number}" for number in range(129)]  # more than the API takes
    server.take(server.offered.begin_session() + server.offered.offer([tool("f0")]))
    updates = server.offered.offer([tool(name) for name in names])
    while updates:
        update, *updates = updates
        for event in server.rig.raw(update.decode()):
            if event["type"] == "error":
                server.terms.refuses(ServerError(**event["error"]))
                updates += server.offered.refuse(server.terms.refused_tools)
    assert list(server.offered.troubles()) == [""]
    assert "array too long" in server.offered.troubles()[""]


def test_an_update_with_functions_does_not_carry_the_settings() -> None:
    offered = OfferedTools([{"type": "mcp", "server_label": "docs", "server_url": "http://a"}])
    [update] = offered.begin_session()
    assert json.loads(update)["session"].keys() == {"type", "tools"}
    [settings] = session_updates(wanted(Session()))
    assert "tools" not in json.loads(settings)["session"]


@pytest.mark.parametrize("twist", ["refuse-function", "refuse-function-unnamed"])
def test_a_list_that_grows_is_offered_without_what_was_refused(twist: str) -> None:
    server = Server(twist)
    server.take(server.offered.begin_session() + server.offered.offer([tool("odd"), tool("a")]))
    assert server.tools == ["a"]
    sent = server.sent
    server.take(server.offered.offer([tool("b"), tool("odd"), tool("a")]))
    assert server.tools == ["b", "a"]
    assert server.sent == sent + 1  # no second refusal
    assert list(server.offered.troubles()) == ["odd"]
