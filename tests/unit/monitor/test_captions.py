"""Captions: the words of both sides, as they are heard."""

from __future__ import annotations

import pytest

from services.monitor.captions import Captions
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
