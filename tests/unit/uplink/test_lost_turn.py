"""A turn whose session was lost after the server had ended it and before the answer began."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from harness.owner import StandIn
from services.uplink.lost_turn import LostTurn
from services.uplink.microphone import Microphone
from services.uplink.restoration import Restoration
from services.uplink.updates import Updates
from shared import messages
from shared.audio import pcm
from shared.config import Session
from shared.realtime import words

pytestmark = pytest.mark.unit

MS = 1_000_000
FRAME_MS = 20
#: The frames in which the server hears the person, and the one in which it ends the turn.
BEGINS, ENDS = 10, 60
SPOKEN = list(range(BEGINS, ENDS))


class Rig:
    """An uplink's last turn: said in session 1, which is lost."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.restored = 0
        self.again: list[int] = []
        self.mic = Microphone(1000 * MS)
        self.restoration = Restoration()
        self.restoration.update([turn("before")])
        self.updates = Updates(Session(), lambda *_: None)
        self.lost = LostTurn(
            StandIn(),
            (self.mic, self.restoration, self.updates),
            lambda event: self.sent.append(json.loads(event)["type"]),
            self.restore,
            self.send_audio_again,
        )
        self.mic.begin_session(1, 0)
        self.hear(range(ENDS), 1, BEGINS)
        self.state(1)

    def restore(self) -> None:
        self.restored += 1

    def send_audio_again(self, chunks: list[bytes]) -> int:
        samples = pcm.to_array(b"".join(chunks)).reshape(-1, pcm.FRAME)
        self.again += [int(row[0]) for row in samples]
        return samples.size

    def hear(self, numbers: range, session: int, begins: int = -1) -> None:
        for number in numbers:
            self.mic.keep(number.to_bytes(2, "little") * pcm.FRAME, number * FRAME_MS * MS)
            if number - numbers[0] == begins:
                self.state(session, begins * FRAME_MS)

    def state(self, session: int, begun_ms: int = -1) -> None:
        self.lost.reply_state(
            messages.ReplyState(
                generation=1, session=session, active=[], items=[],
                speaking=begun_ms >= 0, speech_ms=max(0, begun_ms),
            )
        )  # fmt: skip

    def lose(
        self, *turns: messages.HistoryTurn, lost_answer: Literal["", "answer", "continue"]
    ) -> None:
        """Begin session 2, a long time later."""
        self.restoration.begin_session(2)
        self.restoration.update([turn("before"), *turns])
        assert self.mic.begin_session(2, 20_000 * MS) == []
        self.updates.request = messages.SessionRequest(session=2, lost_answer=lost_answer)
        self.lost.ask_again(2)


def turn(
    name: str, text: str = "words", role: Literal["user", "assistant"] = "user"
) -> messages.HistoryTurn:
    return messages.HistoryTurn(
        item_id=name, kind="message", role=role, text=text, told=True, name="", call_id="",
        session=1, known_as=name, new_id=f"new_{name}",
    )  # fmt: skip


WORDLESS = words.untranscribed(1000)


@pytest.mark.parametrize("known", [True, False])
def test_a_turn_without_words_is_heard_again(known: bool) -> None:
    rig = Rig()
    rig.lose(*([turn("spoken", WORDLESS)] if known else []), lost_answer="answer")
    assert rig.again == SPOKEN
    assert rig.sent == []
    # The session does not get the text that stands for the turn as well.
    assert rig.restored == 1
    created = [json.loads(event)["item"]["id"] for event in rig.restoration.requests()]
    assert created == ["new_before"]
    # Once is enough.
    rig.lost.ask_again(2)
    assert rig.again == SPOKEN


def test_it_is_heard_again_in_each_session_until_one_answers() -> None:
    rig = Rig()
    rig.lose(turn("spoken", WORDLESS), lost_answer="answer")
    rig.mic.begin_session(3, 40_000 * MS)
    rig.updates.request = messages.SessionRequest(session=3, lost_answer="answer")
    rig.lost.ask_again(3)
    assert rig.again == SPOKEN * 2


@pytest.mark.parametrize(
    "after",
    [
        [turn("spoken")],
        [turn("spoken", WORDLESS), turn("answer", role="assistant")],
        [turn("spoken", WORDLESS), turn("typed")],
    ],
    ids=["words", "answered", "typed"],
)
def test_a_turn_that_the_session_has_is_not(after: list[messages.HistoryTurn]) -> None:
    rig = Rig()
    rig.lose(*after, lost_answer="answer")
    assert rig.again == []
    assert rig.sent == ["response.create"]


@pytest.mark.parametrize("why", ["scrap", "asleep", "cut"])
def test_a_turn_that_needs_no_answer_is_not(why: str) -> None:
    rig = Rig()
    if why == "scrap":
        rig.mic.forget_last_turn()
    elif why == "asleep":
        rig.mic.sleep(messages.Sleep(asleep=True, cause="asked"))
    rig.lose(turn("spoken", WORDLESS), lost_answer="continue" if why == "cut" else "answer")
    assert rig.again == []
    assert rig.sent == ["response.create"]


def test_nothing_is_asked_for_unless_an_answer_is_missing() -> None:
    rig = Rig()
    rig.lose(turn("spoken", WORDLESS), lost_answer="")
    assert (rig.again, rig.sent) == ([], [])


def test_a_session_that_does_not_have_the_conversation_yet_is_not_asked() -> None:
    rig = Rig()
    rig.updates.request = messages.SessionRequest(session=2, lost_answer="answer")
    rig.lost.ask_again(1)
    assert (rig.again, rig.sent) == ([], [])
