"""The limits of the replies: memory, and values that cannot be."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from harness.downlink import Reader
from services.downlink import events, replies, responses, transcripts
from services.downlink.replies import Replies
from shared import messages
from tests.support.replying import Rig, created, delta, done, sent, words

# limits


def test_memory_is_bounded_and_what_is_sent_has_its_limits() -> None:
    rig = Rig()
    for n in range(1000):
        rig.reader.read(created(f"resp_{n}"), 0)
        rig.reader.read(delta(2, f"item_{n}", f"resp_{n}"), 0)
        rig.reader.read(events.TextDelta(f"resp_{n}", f"item_{n}", "x"), 0)
        if n % 3 == 0:
            rig.reader.read(done(f"resp_{n}"), 0)
    assert len(rig.replies._items) <= replies.REMEMBERED
    assert len(rig.replies.responses) <= responses.REMEMBERED
    assert len(rig.replies._texts._texts) <= transcripts.REMEMBERED
    flush = rig.flush()
    assert flush.interrupted[-1] == "resp_999"
    assert flush.active[-1] == "resp_998"


def test_the_longest_names_and_words_can_be_sent() -> None:
    rig = Rig()
    for n in range(100):
        name = f"{n:04}" + "🙂" * 508
        for event in (
            created(name),
            delta(2, name, name),
            events.TextDelta(name, name, "🙂" * 70_000),
        ):
            rig.reader.read(event, 0)
    flush = rig.flush()
    assert len(flush.received) == len(flush.interrupted) == len(flush.active) == replies.REMEMBERED
    assert flush.active[-1].startswith("0099")
    said = words(rig.read(events.TranscriptDone(name, name, "🙂" * 70_000)))
    assert len(said.text) == transcripts.MAX_TRANSCRIPT


def test_an_hour_in_one_item_has_a_transcript_to_its_end() -> None:
    rig = Rig()
    quarter_second = base64.b64encode(bytes(2 * 6000)).decode()
    said: Any = None
    for _ in range(transcripts.MAX_MARKS + 500):
        rig.reader.read(events.AudioDelta("resp_1", "item_1", quarter_second), 0)
        [said] = rig.reader.read(events.TextDelta("resp_1", "item_1", " word"), 0)
    assert said.text == " word" * (transcripts.MAX_MARKS + 500)
    assert len(said.marks) == transcripts.MAX_MARKS
    assert sent(said) == said


# values that cannot be


@pytest.mark.parametrize("generation", [messages.LAST_GENERATION, 2**63 - 1])
def test_a_generation_that_cannot_be_is_not_followed(generation: int) -> None:
    rig = Rig(generation=100)
    rig.replies.heard(messages.Heard(generation=generation, session=1, playing=True, items=[]))
    assert rig.flush().generation == 101


def test_a_place_that_cannot_be_is_not_gone_on_from() -> None:
    rig = Rig()
    item = messages.HeardItem("item_1", 0, 5, 2**63 - 1, False)
    rig.replies.heard(messages.Heard(generation=1, session=1, playing=True, items=[item]))
    assert [out.start for out in rig.audio(delta(10))] == [1]


def test_nothing_that_a_server_makes_up_is_remembered_without_end() -> None:
    made = Replies(1, 1)
    reader = Reader(made)
    for n in range(3000):
        for event in (
            created(f"resp_{n}"),
            delta(2, f"item_{n}", f"resp_{n}"),
            events.TextDelta(f"resp_{n}", f"item_{n}", "x"),
            events.UserTranscriptDelta(f"user_{n}", "y"),
            events.ItemTruncated(f"gone_{n}", 5),
        ):
            reader.read(event, 7)
        # One item and its transcript, in more and more pieces.
        reader.read(events.TextDelta("resp", "item", "x" * 100), 7)
        reader.read(delta(5, "item", "resp"), 7)
    held = {**vars(made), **vars(made._texts)}
    kept = {name: len(value) for name, value in held.items() if hasattr(value, "__len__")}
    assert max(kept.values()) <= responses.REMEMBERED
    for message in [made.state(), made.flush("control", 1)]:
        assert sent(message) == message
    longest = max(made._texts._texts.values(), key=lambda text: len(text.text))
    assert len(longest.text) <= transcripts.MAX_TRANSCRIPT
    assert len(longest.marks) <= transcripts.MAX_MARKS
