"""A session gets every turn of the conversation once and in order, and gets later corrections."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.uplink import requests
from services.uplink.restoration import Restoration
from shared import messages
from shared.config import Session
from shared.realtime.session import wanted
from tests.support.openai_types import client_events, unknown_fields

pytestmark = pytest.mark.unit


def turn(item_id: str, text: str = "Yes.", **fields: Any) -> messages.HistoryTurn:
    given = {"kind": "message", "role": "user", "new_id": f"{item_id}:{text}"} | fields
    return messages.HistoryTurn(item_id=item_id, text=text, **given)


CALL = turn("c", "{}", kind="function_call", role="", name="weather", call_id="call_1")
OUTPUT = turn("d", "rain", kind="function_call_output", role="", call_id="call_1")
TALK = [turn("a", "Hello."), turn("b", "Hello!", role="assistant"), CALL, OUTPUT]


class Server:
    """The server's conversation after uplink's events. It counts the items that it refuses."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.refused = 0

    def take(self, events: list[bytes]) -> None:
        for text in events:
            event = json.loads(text)
            parsed = client_events()[event["type"]].model_validate(event, strict=True)
            assert unknown_fields(parsed) == []
            ids = [item["id"] for item in self.items]
            if event["type"] == "conversation.item.delete":
                assert event["item_id"] in ids
                del self.items[ids.index(event["item_id"])]
                continue
            assert event["type"] == "conversation.item.create"
            item, previous = event["item"], event.get("previous_item_id")
            if item["id"] in ids:
                self.refused += 1
                continue
            assert previous in (None, "root", *ids)
            at = len(ids) if previous is None else 0 if previous == "root" else ids.index(previous)
            self.items.insert(at if previous in (None, "root") else at + 1, item)

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.items]


def ids(turns: list[messages.HistoryTurn]) -> list[str]:
    return [turn.new_id for turn in turns if turn.told]


def begun(turns: list[messages.HistoryTurn], session: int = 2) -> tuple[Restoration, Server]:
    """Begin a session with these turns, and return the replay and the server."""
    replay, server = Restoration(), Server()
    replay.update(turns)
    replay.begin_session(session)
    server.take(replay.requests())
    return replay, server


def held(
    turns: list[messages.HistoryTurn], server: Server, session: int = 2
) -> list[messages.HistoryTurn]:
    """Return the turns as downlink publishes them once it has read which items the server has."""
    return [
        msgspec.structs.replace(t, session=session, known_as=t.new_id)
        if t.new_id in server.ids
        else t
        for t in turns
    ]


def test_a_new_session_is_given_everything_in_its_order_and_once() -> None:
    replay, server = begun(TALK)
    assert server.ids == ids(TALK)
    user, assistant, call, output = server.items
    assert user["content"] == [{"type": "input_text", "text": "Hello."}]
    assert assistant["content"] == [{"type": "output_text", "text": "Hello!"}]
    assert (call["name"], call["call_id"], call["arguments"]) == ("weather", "call_1", "{}")
    assert (output["call_id"], output["output"]) == ("call_1", "rain")
    assert replay.requests() == []
    replay.update(held(TALK, server))
    assert replay.requests() == []


def test_a_session_does_not_get_the_turns_that_it_has() -> None:
    own = [turn("a", "Hello.", session=2, known_as="a")]
    _, server = begun(own)
    assert server.ids == []
    # Its text is not sent even if the text changes: the session has the turn's audio, and uplink
    # truncates the audio instead.
    replay, server = begun([turn("a", "Hel", session=2, known_as="a")])
    assert replay.requests() == []


def test_another_session_is_given_it_anew() -> None:
    replay, _ = begun(TALK, 2)
    replay.begin_session(2)
    assert replay.requests() == []
    replay.begin_session(3)
    server = Server()
    server.take(replay.requests())
    assert server.ids == ids(TALK)


def test_an_unheard_turn_is_not_restored() -> None:
    _, server = begun([turn("a"), turn("b", "", told=False), turn("c")])
    assert server.ids == ["a:Yes.", "c:Yes."]


def test_a_turn_of_which_less_was_heard_is_corrected_in_its_place() -> None:
    replay, server = begun(TALK)
    later = [TALK[0], turn("b", "Hel", role="assistant"), CALL, OUTPUT]
    replay.update(later)
    server.take(replay.requests())
    assert server.ids == ids(later)
    # The first turn of the conversation is corrected in its place as well.
    later = [turn("a", "", told=False), turn("b", "H", role="assistant"), CALL, OUTPUT]
    replay.update(later)
    server.take(replay.requests())
    assert server.ids == ids(later)
    assert replay.requests() == []
    # An uplink that was restarted corrects the session in the same way.
    again = Restoration()
    again.begin_session(2)
    again.update(held(later, server))
    assert again.requests() == []
    again.update(
        [*held(later, server)[:1], turn("b", "", told=False, session=2, known_as="b:H"), CALL]
    )
    server.take(again.requests()[:1])
    assert "b:H" not in server.ids


def test_one_that_is_refused_takes_no_other_along() -> None:
    replay = Restoration()
    replay.update(TALK)
    replay.begin_session(2)
    assert all("previous_item_id" not in json.loads(event) for event in replay.requests())


@given(st.integers(0, 4), st.integers(0, 4))
def test_a_replay_that_was_interrupted_is_completed(sent: int, seen: int) -> None:
    replay, server = Restoration(), Server()
    replay.update(TALK)
    replay.begin_session(2)
    server.take(replay.requests()[:sent])
    # Downlink has read the server's answers to the first ``seen`` items only.
    known = [*held(TALK[:seen], server), *TALK[seen:]]
    again = Restoration()
    again.begin_session(2)
    again.update(known)
    server.take(again.requests())
    assert server.ids == ids(TALK)
    assert server.refused == max(0, sent - seen)


def test_a_replay_is_completed_though_the_conversation_has_gone_on() -> None:
    replay, server = Restoration(), Server()
    replay.update(TALK)
    replay.begin_session(2)
    server.take(replay.requests()[:1])
    server.items.append({"id": "e"})
    again = Restoration()
    again.begin_session(2)
    again.update([*held(TALK, server), turn("e", session=2, known_as="e")])
    server.take(again.requests())
    assert server.ids == [*ids(TALK), "e"]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 7), unique=True, max_size=8), st.integers(0, 3)),
        max_size=6,
    )
)
def test_the_session_follows_every_change_of_the_history(
    changes: list[tuple[list[int], int]],
) -> None:
    """Replies lose words, or all of them, because less was heard. Their order does not change."""
    replay, server = begun([turn(f"{n}") for n in range(8)])
    said = ["Yes."] * 8
    for which, length in changes:
        for number in which:
            said[number] = said[number][:length]
        turns = [turn(f"{n}", text, told=bool(text)) for n, text in enumerate(said)]
        replay.update(turns)
        server.take(replay.requests())
        assert server.ids == ids(turns)


def test_a_conversation_that_goes_on_differs_from_one_that_begins() -> None:
    replay = Restoration()
    assert not replay.has_begun()
    replay.update([turn("a", "", told=False)])
    assert not replay.has_begun()
    replay.update([turn("a")])
    assert replay.has_begun()


def test_each_session_gets_the_instructions() -> None:
    [update] = requests.session_updates(wanted(Session(instructions="Be kind.")))
    asked = json.loads(update)
    assert asked["session"]["instructions"] == "Be kind."
