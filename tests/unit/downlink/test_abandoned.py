"""When the rest of a reply counts as abandoned."""

from __future__ import annotations

import pytest

from harness.downlink import Reader
from services.downlink import event_reader
from services.downlink.abandoned import MAX_REMEMBERED, MAX_SILENCE_NS, QUIET_NS, Abandoned
from services.downlink.replies import Replies
from shared import messages

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
A, B = ("item_a", 0), ("item_b", 0)
BEATS = -(-QUIET_NS // SECOND)


def test_it_is_so_after_a_while_and_once() -> None:
    abandoned = Abandoned()
    looks = [abandoned.look({A}, now * SECOND) for now in range(2 * BEATS + 1)]
    assert looks == [now == BEATS for now in range(2 * BEATS + 1)]
    # another item is abandoned later, and once as well
    assert [abandoned.look({A, B}, (9 + n) * SECOND) for n in range(BEATS + 1)][-1]


def test_an_item_that_plays_after_all_is_counted_anew() -> None:
    abandoned = Abandoned()
    for now in range(BEATS):
        assert not abandoned.look({A}, now * SECOND)
    assert not abandoned.look(set(), BEATS * SECOND)
    assert not abandoned.look({A}, (BEATS + 1) * SECOND)


def test_a_playback_that_was_stopped_is_not_believed_at_once() -> None:
    abandoned = Abandoned()
    assert not abandoned.look({A}, 0)
    assert not abandoned.look({A}, QUIET_NS + MAX_SILENCE_NS)
    assert not abandoned.look({A}, QUIET_NS + MAX_SILENCE_NS + SECOND)


def test_the_memory_is_limited() -> None:
    abandoned = Abandoned()
    for number in range(2 * MAX_REMEMBERED):
        for beat in range(BEATS + 1):
            abandoned.look({(f"item_{number}", 0)}, (number * 10 + beat) * SECOND)
    assert len(abandoned._reported) == MAX_REMEMBERED


def heard(*items: messages.HeardItem, playing: bool = False) -> messages.Heard:
    """Return what playback publishes about the playhead."""
    return messages.Heard(generation=1, session=1, playing=playing, items=list(items))


def spoken(*, until: str = "response.done") -> Replies:
    """Return turns that have read a reply of one item of 10 samples, up to an event."""
    reader = Reader(Replies(generation=1, session=1))
    item = b'"response_id":"resp","item_id":"item_a","content_index":0'
    said = [
        b'{"type":"response.created","response":{"id":"resp"}}',
        b'{"type":"response.output_audio.delta",%b,"delta":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}' % item,
        b'{"type":"response.output_audio.done",%b}' % item,
        b'{"type":"response.done","response":{"id":"resp","status":"completed"}}',
    ]
    for text in said:
        reader.read(event_reader.read(text))
        if until in text.decode():
            break
    return reader.replies


def test_a_reply_of_which_playback_knows_nothing_is_unheard_once_it_is_over() -> None:
    assert spoken(until="output_audio.done").unfinished(heard()) == set()
    assert spoken().unfinished(heard()) == {A}
    assert spoken().unfinished(heard(playing=True)) == set()


def test_an_item_heard_to_its_end_interrupted_or_truncated_is_not_abandoned() -> None:
    turns = spoken()
    whole = heard(messages.HeardItem(*A, 10, 10, done=True))
    turns.heard(whole)
    # the same if a new playback does not know the item
    assert turns.unfinished(whole) == turns.unfinished(heard()) == set()
    turns = spoken()
    turns.flush("control", 1)
    assert turns.unfinished(heard()) == set()
    turns = spoken()
    truncated = b'{"type":"conversation.item.truncated","item_id":"item_a","audio_end_ms":1}'
    Reader(turns).read(event_reader.read(truncated))
    assert turns.unfinished(heard()) == set()


def test_audio_after_a_hole_does_not_count_as_heard() -> None:
    turns = spoken()
    gap = heard(messages.HeardItem(*A, 3, 10, done=True, broken=True))
    turns.heard(gap)
    assert turns.unfinished(gap) == {A}


def test_another_downlinks_reply_is_unheard_where_its_end_is_missing() -> None:
    turns = Replies(generation=2, session=1)
    assert turns.unfinished(heard(messages.HeardItem(*B, 5, 5, done=False))) == {B}
    assert turns.unfinished(heard(messages.HeardItem(*B, 5, 5, done=False, cut=True))) == set()
    assert turns.unfinished(heard(messages.HeardItem(*B, 5, 5, done=True))) == set()
