"""Captions: the words of both sides, as they are heard."""

from __future__ import annotations

import pytest

from services.monitor.captions import MOST, MOST_CHARS, Captions
from shared import messages

pytestmark = pytest.mark.unit

SECOND = 24_000


@pytest.mark.parametrize("heard_first", [True, False])
def test_the_playhead_may_come_before_the_words(heard_first: bool) -> None:
    captions = Captions()
    said = messages.Transcript(
        session=1, item_id="i", role="assistant", text="One two.", final=True,
        marks=[messages.Mark(0, 0), messages.Mark(8, SECOND)],
    )  # fmt: skip
    item = messages.HeardItem("i", 0, SECOND, SECOND, True)
    heard = messages.Heard(generation=1, session=1, playing=False, items=[item])
    if heard_first:
        captions.heard(heard)
    captions.transcript(said)
    if not heard_first:
        captions.heard(heard)
    [shown] = captions.all()
    assert (shown["heard"], shown["unheard"]) == ("One two.", "")


def words(item_id: str, begun_ns: int) -> messages.Transcript:
    return messages.Transcript(
        session=1, item_id=item_id, role="user", text="Yes.", final=True, begun_ns=begun_ns
    )


def test_words_that_come_late_stand_before_the_reply_to_them() -> None:
    captions = Captions()
    for item_id, begun_ns in (("greeting", 10), ("reply", 30), ("question", 20)):
        captions.transcript(words(item_id, begun_ns))
    assert [caption["item_id"] for caption in captions.all()] == ["greeting", "question", "reply"]
    shown = {caption["item_id"]: caption["before"] for caption in captions.changes()}
    assert shown == {"greeting": "question", "question": "reply", "reply": ""}
    assert not list(captions.changes())


def test_a_playhead_within_the_same_word_changes_nothing() -> None:
    captions = Captions()
    said = messages.Transcript(
        session=1, item_id="i", role="assistant", text="One two.", final=True,
        marks=[messages.Mark(0, 0), messages.Mark(8, SECOND)],
    )  # fmt: skip
    captions.transcript(said)
    told = []
    for at in range(0, SECOND + 1, SECOND // 10):
        item = messages.HeardItem("i", 0, at, SECOND, False)
        captions.heard(messages.Heard(generation=1, session=1, playing=True, items=[item]))
        told.append([change["heard"] for change in captions.changes()])
    assert [each for changes in told for each in changes] == ["", "One", "One two."]


@pytest.mark.parametrize(("length", "kept"), [(1, MOST), (MOST_CHARS // 4, 4), (MOST_CHARS + 1, 1)])
def test_the_oldest_words_make_room(length: int, kept: int) -> None:
    captions = Captions()
    for number in range(MOST + 5):
        said = messages.Transcript(
            session=1, item_id=str(number), role="user", text="x" * length, final=True
        )
        captions.transcript(said)
    assert [caption["item_id"] for caption in captions.all()] == [
        str(number) for number in range(MOST + 5 - kept, MOST + 5)
    ]


def test_items_of_which_the_beginning_is_not_known_stay_in_the_order_of_their_words() -> None:
    captions = Captions()
    for item_id, begun_ns in (("reply", 30), ("question", 0), ("later", 40)):
        captions.transcript(words(item_id, begun_ns))
    assert [caption["item_id"] for caption in captions.all()] == ["reply", "question", "later"]
