"""The first request for an answer waits for the functions, if the settings name some."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.owner import StandIn
from services.uplink.functions import FIRST_OFFER_S, Functions, configured
from services.uplink.texts import Texts
from services.uplink.updates import Updates
from shared import messages
from shared.config import Config
from shared.settings import Session, Tools

pytestmark = pytest.mark.unit

OFFER = messages.ToolOffer(
    names=["clock"],
    payload=b'[{"type":"function","name":"clock","description":"","parameters":{}}]',
)


class Rig:
    """The functions and the texts of an uplink with an open session."""

    def __init__(self) -> None:
        self.stage = StandIn(Config(tools=Tools(modules=["my_tools"])))
        self.sent: list[str] = []
        send = lambda event: self.sent.append(json.loads(event)["type"])  # noqa: E731
        updates = Updates(Session(), lambda *_: None)
        self.functions = Functions(self.stage, updates, send, lambda: 1, lambda: 0)
        self.texts = Texts(lambda: 1, send, lambda: self.functions.settled, lambda: False)

    def type(self) -> None:
        self.texts.follow(messages.Control(command="type", text="What time is it?"))


def test_a_typed_line_waits_for_the_first_offer() -> None:
    rig = Rig()
    rig.functions.wait(Path(), rig.texts.send)
    rig.texts.begin_session("Say hello.")
    rig.texts.send()
    rig.type()
    assert rig.sent == []
    rig.functions.offer(OFFER)
    assert rig.sent == ["session.update", "response.create", "conversation.item.create"]
    rig.type()
    rig.stage.pass_time()
    assert rig.sent[3:] == ["conversation.item.create"]


def test_without_an_offer_a_typed_line_does_not_wait_for_ever() -> None:
    rig = Rig()
    rig.functions.wait(Path(), rig.texts.send)
    rig.type()
    rig.stage.pass_time(FIRST_OFFER_S)
    assert rig.sent == ["conversation.item.create"]


def test_without_configured_functions_nothing_waits(tmp_path: Path) -> None:
    rig = Rig()
    rig.type()
    assert rig.sent == ["conversation.item.create"]
    assert not configured(Tools(), tmp_path)
    assert configured(Tools(modules=["my_tools"]), tmp_path)
    (tmp_path / "mcp.json").write_text("{}")
    assert configured(Tools(), tmp_path)
