"""A conversation with the emulator is lost, and restored in another session of the emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.downlink import Reader
from services.downlink import event_reader, events
from services.downlink.history import History
from services.downlink.replies import Replies
from services.downlink.server_errors import Kind, kind
from services.emulator.options import Options
from services.uplink.restoration import Restoration
from shared import messages
from shared.audio.pcm import RATE
from tests.support.emulator import Rig, of

pytestmark = pytest.mark.unit

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
QUIET = {"input": {"turn_detection": None}}


class Client:
    """The parts of downlink and uplink that restore a conversation, connected to an emulator.

    Each connection is to a new emulator, which knows nothing of the conversation.
    """

    def __init__(self) -> None:
        self.history = History()
        self.turns = Replies(generation=1)
        self.reader = Reader(self.turns, self.history)
        self.replay = Restoration()
        self.session = 0
        self.connect()

    def connect(self) -> None:
        """Open a session of a new emulator. ``restore()`` sends the history to the session."""
        self.rig = Rig(Options(reply="tone:2", pace=0))
        self.session += 1
        self.history.reply_state(self.turns.state())
        self.turns.begin_session(self.session)
        self.history.begin_session(self.session)
        self.replay.begin_session(self.session)
        self.rig.update(tools=[WEATHER], audio=QUIET)

    def restore(self, most: int = 99) -> list[dict[str, Any]]:
        """Send at most ``most`` events that restore the session, and return the answers."""
        self.replay.update(self.history.turns())
        answers = [
            event for text in self.replay.requests()[:most] for event in self.rig.raw(text.decode())
        ]
        self.read(answers)
        return answers

    def read(self, said: list[dict[str, Any]]) -> None:
        """Read server events, as downlink does."""
        for event in said:
            read = event_reader.read(json.dumps(event).encode())
            self.reader.read(read)
        self.history.reply_state(self.turns.state())

    def send(self, kind: str, **fields: Any) -> None:
        self.read(self.rig.send(kind, **fields))
        self.read(self.rig.run(3))

    def heard(self, item_id: str, seconds: float) -> None:
        """Report an item of 2 s as heard for ``seconds`` and then interrupted."""
        seen = messages.HeardItem(item_id, 0, round(seconds * RATE), 2 * RATE, True)
        self.history.flush_report(
            messages.FlushReport(
                generation=2,
                session=self.session,
                cause="control",
                event_ns=1,
                flush_ns=2,
                received_ns=3,
                silent_ns=4,
                latency_ns=5,
                items=[seen],
            )
        )

    def holds(self) -> list[tuple[str, str]]:
        """Return the role, or else the type, and the text of each item that the server has."""
        self.rig.session.journal_conversation(self.rig.now)
        items = self.rig.journal[-1]["items"]
        return [
            (
                item.get("role") or item["type"],
                item.get("text", item.get("arguments", item.get("output"))),
            )
            for item in items
        ]


@pytest.fixture
def client() -> Client:
    """Return a client after a conversation about the weather whose last reply was interrupted."""
    made = Client()
    said = {"type": "message", "role": "user"}
    hello = {**said, "content": [{"type": "input_text", "text": "Hello."}]}
    made.send("conversation.item.create", item=hello)
    made.send("response.create")
    rain = {**said, "content": [{"type": "input_text", "text": "weather?"}]}
    made.send("conversation.item.create", item=rain)
    made.send("response.create")
    call = next(t for t in made.history.turns() if t.kind == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    made.send("conversation.item.create", item=output)
    made.send("response.create")
    made.heard(made.history.turns()[-1].item_id, 1.1)
    return made


#: The transcript of the emulator's tone: the time in ms, every 500 ms.
WHOLE = "0 500 1000 1500"
TALK = [
    ("user", "Hello."),
    ("assistant", WHOLE),
    ("user", "weather?"),
    ("function_call", "{}"),
    ("function_call_output", "rain"),
]


def test_all_of_it_is_put_back_and_nothing_is_answered(client: Client) -> None:
    client.connect()
    answers = client.restore()
    assert client.holds()[:-1] == TALK
    role, text = client.holds()[-1]
    assert role == "assistant"
    assert text
    assert WHOLE.startswith(text)
    assert len(text) < len(WHOLE)
    assert not of(answers, "error")
    assert not [event for event in client.rig.run(5) if event["type"].startswith("response.")]
    # Nothing is left to restore.
    assert client.restore() == []


def test_the_conversation_goes_on_from_there_and_is_put_back_once_more(client: Client) -> None:
    client.connect()
    client.restore()
    client.send("response.create")
    before = client.holds()
    client.connect()
    client.restore()
    assert client.holds() == before
    assert len(before) == len(TALK) + 2


@pytest.mark.parametrize("sent", range(7))
def test_an_uplink_that_dies_while_it_puts_it_back_is_followed_by_one_that_does(
    client: Client, sent: int
) -> None:
    client.connect()
    whole = client.holds()
    client.restore(sent)
    client.replay = Restoration()
    client.replay.begin_session(client.session)
    answers = client.restore()
    assert client.holds()[:-1] == [*whole, *TALK]
    # Downlink had read the answers to the first events, so the second uplink does not repeat them.
    assert not of(answers, "error")


def test_an_item_that_is_sent_twice_is_refused_and_keeps_its_place(client: Client) -> None:
    client.connect()
    blind = client.history.turns()
    client.restore()
    before = client.holds()
    again = Restoration()
    again.begin_session(client.session)
    again.update(blind)
    answers = [event for text in again.requests() for event in client.rig.raw(text.decode())]
    assert client.holds() == before
    errors = [event_reader.read(json.dumps(event).encode()) for event in of(answers, "error")]
    assert len(errors) == len(before)
    for error in errors:
        assert isinstance(error, events.ErrorEvent)
        assert kind(error.error) is Kind.BENIGN
