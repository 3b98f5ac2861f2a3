"""The texts that a person types, or wants said, become items of the conversation."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from services.uplink.texts import MAX_WAITING, SAY, Texts
from shared import messages

pytestmark = pytest.mark.unit


class Rig:
    """Texts, and the session that gets them."""

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready
        self.begun = False
        self.sent: list[dict[str, Any]] = []
        self.texts = Texts(
            itertools.count(1).__next__,
            lambda event: self.sent.append(json.loads(event)),
            lambda: self.ready,
            lambda: self.begun,
        )

    def follow(self, command: str, **fields: str) -> None:
        self.texts.follow(messages.Control(command=command, **fields))  # type: ignore[arg-type]

    def items(self) -> list[tuple[str, str, str, str]]:
        """Return the id, the role, the kind and the text of each item that was sent."""
        assert {event["type"] for event in self.sent} <= {"conversation.item.create"}
        items = [event["item"] for event in self.sent]
        return [
            (item["id"], item["role"], part["type"], part["text"])
            for item in items
            for part in item["content"]
        ]


def test_a_typed_text_is_the_persons_and_is_answered() -> None:
    rig = Rig()
    rig.follow("type", text="Hello?")
    assert rig.items() == [("ask_1", "user", "input_text", "Hello?")]


def test_a_text_to_say_is_a_request_of_the_system() -> None:
    rig = Rig()
    rig.follow("say", text="The {tea} is ready.")
    said = SAY.format(text="The {tea} is ready.")
    assert rig.items() == [("ask_1", "system", "input_text", said)]
    assert "The {tea} is ready." in said


@pytest.mark.parametrize(
    ("role", "kind"),
    [("user", "input_text"), ("assistant", "output_text"), ("system", "input_text")],
)
def test_a_text_with_a_role_only_becomes_a_part_of_the_conversation(role: str, kind: str) -> None:
    rig = Rig()
    rig.follow("say", text="It rains.", role=role)
    assert rig.items() == [("text_1", role, kind, "It rains.")]


def test_other_commands_and_empty_texts_add_nothing() -> None:
    rig = Rig()
    rig.follow("interrupt", text="Hello?")
    rig.follow("type", text=" \n")
    assert rig.sent == []


def test_texts_wait_in_their_order_for_a_session_that_has_the_conversation() -> None:
    rig = Rig(ready=False)
    for number in range(MAX_WAITING + 1):
        rig.follow("type", text=str(number))
    rig.texts.send()
    assert rig.sent == []
    rig.ready = True
    rig.texts.send()
    assert [text for *_, text in rig.items()] == [str(n) for n in range(1, MAX_WAITING + 1)]
    rig.texts.send()
    assert len(rig.sent) == MAX_WAITING


def test_a_greeting_is_sent_once_and_before_the_texts() -> None:
    rig = Rig(ready=False)
    rig.texts.begin_session("Say hello.")
    rig.follow("type", text="Hello?")
    rig.texts.send()
    assert rig.sent == []
    rig.ready = True
    rig.texts.send()
    rig.texts.send()
    assert [event["type"] for event in rig.sent] == ["response.create", "conversation.item.create"]


def test_a_greeting_that_comes_too_late_is_not_sent() -> None:
    rig = Rig(ready=False)
    rig.texts.begin_session("Say hello.")
    rig.begun = rig.ready = True
    rig.texts.send()
    rig.begun = False
    rig.texts.begin_session("")
    rig.texts.send()
    assert rig.sent == []
