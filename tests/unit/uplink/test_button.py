"""A turn of push to talk that was committed just before its session was lost."""

from __future__ import annotations

import json

import pytest

from harness.owner import StandIn
from services.uplink.button import Button
from services.uplink.microphone import Microphone
from services.uplink.restoration import Restoration
from shared import messages
from shared.audio import pcm
from shared.realtime import words

pytestmark = pytest.mark.unit

MS = 1_000_000
PATIENCE_NS = 60_000 * MS
FRAMES = 50
COMMIT = "input_audio_buffer.commit"


class Rig:
    """An uplink's button and microphone. The person has said a turn, which was committed."""

    def __init__(self) -> None:
        self.owner = StandIn()
        self.sent: list[str] = []
        self.restoration = Restoration()
        self.restoration.update([turn("before")])
        self.mic = Microphone(PATIENCE_NS)
        self.button = Button(
            self.owner,
            self.mic,
            lambda event: self.sent.append(json.loads(event)["type"]),
            lambda: True,
            self.restoration,
        )
        self.mic.begin_session(1, 0)
        self.state("old")
        self.press(talk=True, at_ns=MS)
        for number in range(FRAMES):
            self.speak(number)
        self.press(talk=False, at_ns=FRAMES * 20 * MS)
        self.owner.pass_time()
        assert self.sent == [COMMIT]
        self.sent.clear()

    def state(self, *active: str) -> None:
        self.button.reply_state(
            messages.ReplyState(generation=1, session=1, active=list(active), items=[])
        )

    def press(self, *, talk: bool, at_ns: int) -> None:
        decision = messages.TurnDecision(session=1, talk=talk, talk_ns=at_ns)
        self.button.follow(decision, None, at_ns)

    def speak(self, number: int) -> None:
        at_ns = (number * 20 + 2) * MS
        audio = bytes(pcm.FRAME * pcm.SAMPLE_BYTES)
        frame = messages.MicClean(
            stream=1, position=number * pcm.FRAME, captured_ns=at_ns, overflows=0, payload=audio
        )
        if self.button.take(frame):
            self.mic.keep(audio, at_ns)

    def lose(self, after_ns: int = 0) -> int:
        """Lose the session. Return how many frames the next one gets."""
        self.button.begin_session()
        again = self.mic.begin_session(2, FRAMES * 20 * MS + after_ns)
        samples = sum(map(len, again)) // pcm.SAMPLE_BYTES
        self.button.heard_again(samples)
        return samples // pcm.FRAME


def turn(name: str, text: str = "words") -> messages.HistoryTurn:
    return messages.HistoryTurn(
        item_id=name, kind="message", role="user", text=text, told=True, name="", call_id="",
        session=1, known_as=name, new_id=f"new_{name}",
    )  # fmt: skip


def test_a_turn_that_is_said_again_is_not_restored_as_a_text() -> None:
    rig = Rig()
    rig.restoration.begin_session(2)
    rig.restoration.update([turn("before"), turn("spoken", words.untranscribed(1000))])
    rig.lose()
    created = [json.loads(event)["item"]["id"] for event in rig.restoration.requests()]
    assert created == ["new_before"]


@pytest.mark.parametrize("acknowledged", [False, True])
def test_the_next_session_gets_the_turn_and_the_commit_again(acknowledged: bool) -> None:
    rig = Rig()
    if acknowledged:  # but nobody has transcribed it
        rig.restoration.update([turn("before"), turn("spoken", words.untranscribed(1000))])
    rig.state("old")
    assert rig.lose(after_ns=5000 * MS) == FRAMES
    assert rig.sent == [COMMIT]
    # and so does the one after that
    assert rig.lose(after_ns=9000 * MS) == FRAMES
    assert rig.sent == [COMMIT] * 2
    rig.state("answer")
    assert rig.lose() == 0
    assert rig.sent == [COMMIT] * 2


@pytest.mark.parametrize("why", ["answered", "words", "pressed", "late"])
def test_a_turn_that_needs_no_repetition_is_not_repeated(why: str) -> None:
    rig = Rig()
    if why == "answered":
        rig.state("old", "answer")
    elif why == "words":
        rig.restoration.update([turn("before"), turn("spoken")])
    elif why == "pressed":
        rig.press(talk=True, at_ns=FRAMES * 21 * MS)
    late_ns = PATIENCE_NS if why == "late" else 0
    assert rig.lose(after_ns=late_ns + MS) == 0
    assert COMMIT not in rig.sent
