"""Turn-taking: which audio is published, and what a flush says."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink import events, objects, replies
from services.downlink.audio_item import BadAudio
from shared import messages
from tests.support.replying import SPEECH, Rig, created, delta, done, ended, pcm_of

# audio


def test_audio_is_published_with_its_place() -> None:
    rig = Rig(generation=5, session=3)
    rig.read(created())
    first, second, last = rig.audio(delta(b"abcd"), delta(b"ef"), ended())
    assert first == messages.ReplyAudio(
        generation=5,
        session=3,
        response_id="resp_1",
        item_id="item_1",
        content_index=0,
        start=0,
        payload=b"abcd",
    )
    assert (second.start, second.payload, second.last) == (2, b"ef", False)
    assert (last.start, last.payload, last.last) == (3, b"", True)
    assert rig.audio(ended(), done()) == []


@given(st.binary(max_size=400), st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_deltas_cut_anywhere_give_the_same_samples(pcm: bytes, sizes: list[int]) -> None:
    rig = Rig()
    frames: list[messages.ReplyAudio] = []
    at = 0
    for size in sizes:
        frames += rig.audio(delta(pcm[at : at + size]))
        at += size
    frames += rig.audio(delta(pcm[at:]), ended())
    assert all(len(frame.payload) % 2 == 0 for frame in frames)
    assert pcm_of(frames) == pcm[: len(pcm) & ~1]


def test_one_byte_at_a_time_is_the_same_as_at_once() -> None:
    pcm = bytes(range(256))
    slowly = Rig().audio(*(delta(bytes([byte])) for byte in pcm))
    assert pcm_of(slowly) == pcm
    assert pcm_of(Rig().audio(delta(pcm))) == pcm


def test_each_item_joins_its_own_halves() -> None:
    rig = Rig()
    frames = rig.audio(
        created(),
        delta(b"a", "item_1"),
        delta(b"123", "item_2"),
        delta(b"x", "item_1", part=1),
        delta(b"b", "item_1"),
        delta(b"4", "item_2"),
        delta(b"y", "item_1", part=1),
    )
    assert [(f.item_id, f.content_index, f.start, f.payload) for f in frames] == [
        ("item_2", 0, 0, b"12"),
        ("item_1", 0, 0, b"ab"),
        ("item_2", 0, 1, b"34"),
        ("item_1", 1, 0, b"xy"),
    ]


def test_half_a_sample_at_the_end_is_let_go() -> None:
    rig = Rig()
    assert [f.payload for f in rig.audio(created(), delta(b"abc"), ended())] == [b"ab", b""]
    assert rig.replies.state().items[0].received == 1


def test_a_long_delta_is_published_in_stretches() -> None:
    pcm = bytes(index % 251 for index in range(3 * replies.CHUNK_BYTES + 10))
    frames = Rig().audio(delta(pcm))
    assert [len(frame.payload) for frame in frames] == [replies.CHUNK_BYTES] * 3 + [10]
    assert pcm_of(frames) == pcm
    assert not any(frame.last for frame in frames)


@pytest.mark.parametrize("data", ["A", "A===", "AAAAA", "AA=A", "…", "AA==AAAA", "*no base64*"])
def test_a_delta_that_is_not_base64_is_refused_and_changes_nothing(data: str) -> None:
    rig = Rig()
    rig.read(created(), delta(b"abc"))
    before = rig.replies.state()
    with pytest.raises(BadAudio, match="item_1 is not base64"):
        rig.reader.read(events.AudioDelta("resp_1", "item_1", data), 0)
    assert rig.replies.state() == before
    assert rig.audio(delta(b"d"))[0].payload == b"cd"


def test_an_empty_delta_is_nothing() -> None:
    assert Rig().audio(delta(b"")) == []


def test_several_items_of_a_response() -> None:
    rig = Rig()
    rig.read(created())
    # The end of the first item may come after the second item began.
    frames = rig.audio(delta(4, "item_1"), delta(2, "item_2"), ended("item_1"), delta(3, "item_2"))
    assert [(f.item_id, f.start, f.last) for f in frames] == [
        ("item_1", 0, False),
        ("item_2", 0, False),
        ("item_1", 4, True),
        ("item_2", 2, False),
    ]
    # The end of a response ends its items.
    assert [(f.item_id, f.start, f.last) for f in rig.audio(done())] == [("item_2", 5, True)]
    assert [(i.item_id, i.received, i.done) for i in rig.replies.state().items] == [
        ("item_1", 4, True),
        ("item_2", 5, True),
    ]


def test_a_response_ends_its_own_items_alone() -> None:
    rig = Rig()
    rig.read(created("resp_1"), delta(4, "item_1", "resp_1"))
    rig.read(created("resp_2"), delta(4, "item_2", "resp_2"))
    assert [f.item_id for f in rig.audio(done("resp_1"))] == ["item_1"]


# the flush


def test_a_flush_says_what_downlink_has() -> None:
    rig = Rig(generation=100, session=4)
    rig.read(created("resp_1"), delta(10, "item_1", "resp_1"), ended("item_1"), done("resp_1"))
    rig.read(created("resp_2"), delta(20, "item_2", "resp_2"), delta(b"x", "item_3", "resp_2"))
    assert rig.flush() == messages.Flush(
        generation=101,
        session=4,
        cause="speech_started",
        event_ns=7,
        received=[
            messages.Received("item_1", 0, 10, True),
            messages.Received("item_2", 0, 20, False),
            messages.Received("item_3", 0, 0, False),
        ],
        interrupted=["resp_1", "resp_2"],
        active=["resp_2"],
    )


def test_a_flush_with_nothing_said_yet() -> None:
    rig = Rig()
    assert rig.flush() == messages.Flush(
        generation=101,
        session=1,
        cause="speech_started",
        event_ns=7,
        received=[],
        interrupted=[],
        active=[],
    )
    # A response without audio: a function call, or the time before the first sample.
    rig.read(created("resp_1"))
    flush = rig.flush()
    assert (flush.received, flush.interrupted, flush.active) == ([], ["resp_1"], ["resp_1"])


def test_every_flush_is_a_newer_generation() -> None:
    rig = Rig(generation=100)
    rig.read(created(), delta(4))
    generations = [rig.flush().generation for _ in range(3)]
    assert generations == [101, 102, 103]
    assert rig.replies.flush("control", 9).generation == 104
    assert rig.replies.state().generation == 104
    assert rig.audio(created("resp_2"), delta(2, "item_2", "resp_2"))[0].generation == 104


def test_the_generation_is_never_behind_playbacks() -> None:
    rig = Rig(generation=100)
    rig.heard(generation=500)
    assert rig.flush().generation == 501
    rig.heard(generation=300)
    assert rig.flush().generation == 502


def test_a_second_flush_names_what_is_still_under_way() -> None:
    rig = Rig()
    rig.read(created("resp_1"), delta(4, "item_1", "resp_1"), done("resp_1"), created("resp_2"))
    assert rig.flush().interrupted == ["resp_1", "resp_2"]
    again = rig.flush()
    assert (again.interrupted, again.active) == (["resp_2"], ["resp_2"])
    # The server has not confirmed the truncation yet.
    assert [i.item_id for i in again.received] == ["item_1"]
    rig.read(done("resp_2", "cancelled"))
    assert (rig.flush().interrupted, rig.flush().active) == ([], [])


def test_items_that_were_heard_are_not_counted() -> None:
    rig = Rig()
    rig.read(created(), delta(10), ended(), delta(20, "item_2"))
    rig.heard(messages.HeardItem("item_1", 0, 9, 10, True))
    assert [i.item_id for i in rig.replies.flush("control", 0).received] == ["item_1", "item_2"]
    rig.heard(
        messages.HeardItem("item_1", 0, 10, 10, True),
        messages.HeardItem("item_2", 0, 20, 20, False),  # more may come
        messages.HeardItem("item_9", 0, 20, 20, True),
    )
    assert [i.item_id for i in rig.replies.flush("control", 0).received] == ["item_2"]


@pytest.mark.parametrize(
    "confirmation",
    [events.ItemTruncated("item_1", 100), events.ItemDeleted("item_1")],
    ids=["cut", "gone"],
)
def test_confirmed_items_are_not_counted(confirmation: events.Event) -> None:
    rig = Rig()
    rig.read(created(), delta(10), delta(20, "item_2"), confirmation)
    assert [i.truncated for i in rig.replies.state().items] == [True, False]
    assert [i.item_id for i in rig.flush().received] == ["item_2"]


# no stale audio


LATE = [delta(6), ended(), done(status="cancelled"), delta(5, "item_2"), created("resp_2")]


@pytest.mark.parametrize("order", list(permutations(range(len(LATE)))))
def test_an_interrupted_response_is_never_published_again(order: tuple[int, ...]) -> None:
    """However late its audio comes, before or after its end and the next response's start."""
    rig = Rig()
    rig.read(created(), delta(4))
    rig.flush()
    for at in order:
        assert rig.audio(LATE[at]) == []
    assert rig.replies.stale == 11
    # The audio that came is counted all the same.
    counted = {i.item_id: i.received for i in rig.replies.state().items}
    assert counted == {"item_1": 10, "item_2": 5}
    [frame] = rig.audio(delta(3, "item_3", "resp_2"))
    assert (frame.generation, frame.item_id, frame.start) == (101, "item_3", 0)


def test_a_response_that_was_all_received_is_interrupted_too() -> None:
    rig = Rig()
    rig.read(created(), delta(4), ended(), done())
    assert rig.flush().interrupted == ["resp_1"]
    assert rig.audio(delta(4, "item_2")) == []


def test_a_response_interrupted_before_its_first_sample() -> None:
    rig = Rig()
    rig.read(created())
    assert rig.flush().interrupted == ["resp_1"]
    assert rig.audio(delta(4), delta(4), ended(), done(status="cancelled")) == []
    # No flush lists the item: uplink deletes it because of the state.
    [item] = rig.replies.state().items
    assert (item.late, item.done, item.received) == (True, True, 8)


def test_only_what_begins_after_its_interruption_is_late() -> None:
    rig = Rig()
    rig.read(created("resp_1"), delta(4, "item_1", "resp_1"))
    rig.flush()
    rig.read(delta(4, "item_1", "resp_1"), delta(4, "item_2", "resp_1"))
    rig.read(created("resp_2"), delta(4, "item_3", "resp_2"))
    assert [(i.item_id, i.late) for i in rig.replies.state().items] == [
        ("item_1", False),
        ("item_2", True),
        ("item_3", False),
    ]


def test_the_next_response_is_published() -> None:
    rig = Rig()
    rig.read(created("resp_1"), delta(4, "item_1", "resp_1"))
    rig.flush()
    frames = rig.audio(
        created("resp_2"),
        delta(4, "item_1", "resp_1"),
        delta(6, "item_2", "resp_2"),
        done("resp_1", "cancelled"),
        ended("item_2", "resp_2"),
    )
    assert [(f.generation, f.item_id, f.start, f.last) for f in frames] == [
        (101, "item_2", 0, False),
        (101, "item_2", 6, True),
    ]


def test_half_a_sample_waits_through_an_interruption() -> None:
    rig = Rig()
    rig.read(created(), delta(b"abc"))
    rig.flush()
    rig.read(delta(b"d"))
    assert rig.replies.state().items[0].received == 2
    assert rig.replies.stale == 1


def test_a_reply_outside_the_conversation_is_not_interrupted() -> None:
    rig = Rig()
    rig.read(created("resp_1"), created("aside", out_of_band=True))
    rig.read(delta(4, "item_a", "aside"), delta(4, "item_1", "resp_1"))
    flush = rig.flush()
    assert [i.item_id for i in flush.received] == ["item_1"]
    assert (flush.interrupted, flush.active) == (["resp_1"], ["resp_1"])
    frames = rig.audio(delta(6, "item_a", "aside"), ended("item_a", "aside"))
    assert [(f.generation, f.start, f.last, f.out_of_band) for f in frames] == [
        (101, 4, False, True),
        (101, 10, True, True),
    ]
    assert [(i.item_id, i.out_of_band) for i in rig.replies.state().items] == [
        ("item_a", True),
        ("item_1", False),
    ]


def test_the_active_responses_are_those_that_are_not_done() -> None:
    rig = Rig()
    rig.read(created("resp_1"), created("aside", out_of_band=True), created("resp_2"))
    assert rig.replies.state().active == ["resp_1", "aside", "resp_2"]
    rig.read(done("resp_1"))
    flush = rig.flush()
    assert flush.active == ["resp_2"]
    assert rig.replies.state().active == ["aside", "resp_2"]


# a new session, a restarted downlink


def test_another_connection_begins_anew() -> None:
    rig = Rig(session=1)
    rig.read(created("resp_1"), delta(b"abc"), delta(4, "item_2"), ended("item_2"))
    frames = [f for f in rig.replies.begin_session(2) if isinstance(f, messages.ReplyAudio)]
    # The audio that came may play to its end, and the end is known now.
    assert [(f.session, f.item_id, f.start, f.last) for f in frames] == [(1, "item_1", 1, True)]
    assert rig.replies.begin_session(2) == []
    state = rig.replies.state()
    assert (state.session, state.active, state.items) == (2, [], [])
    flush = rig.flush()
    assert (flush.session, flush.received, flush.interrupted) == (2, [], [])
    [frame] = rig.audio(created("resp_1"), delta(b"xy"))
    assert (frame.session, frame.start, frame.payload) == (2, 0, b"xy")


def test_another_connection_does_not_end_aloud_what_was_interrupted() -> None:
    rig = Rig()
    rig.read(created(), delta(4))
    rig.flush()
    assert rig.replies.begin_session(2) == []


def test_a_response_begun_before_this_downlink_goes_on() -> None:
    rig = Rig(generation=5000)
    frames = rig.audio(delta(4), ended())
    assert [(f.generation, f.start, f.last, f.out_of_band) for f in frames] == [
        (5000, 1, False, False),
        (5000, 5, True, False),
    ]
    assert rig.replies.state().active == ["resp_1"]
    assert rig.flush().active == ["resp_1"]


def test_an_item_begun_before_this_downlink_goes_on_where_playback_has_it() -> None:
    rig = Rig()
    rig.heard(messages.HeardItem("item_1", 0, 300, 1000, False))
    frames = rig.audio(delta(4), delta(4, "item_2"), ended())
    assert [(f.item_id, f.start, f.last) for f in frames] == [
        ("item_1", 1000, False),
        ("item_2", 0, False),
        ("item_1", 1004, True),
    ]


def test_the_end_of_an_item_begun_before_this_downlink_is_reported() -> None:
    rig = Rig()
    rig.heard(messages.HeardItem("item_1", 0, 300, 1000, False))
    [frame] = rig.audio(ended())
    assert (frame.start, frame.payload, frame.last) == (1000, b"", True)


def test_only_where_an_item_begins_that_nobody_has_seen_begin_is_not_known() -> None:
    rig = Rig()
    [frame] = rig.audio(delta(4))
    # The item starts after a gap, so that playback counts none of it as heard.
    assert frame.start == 1
    rig.read(ended())
    assert rig.flush().received == [messages.Received("item_1", 0, 0, False)]
    rig = Rig()
    # Downlink read all of the first item's response, the second item from its beginning, and
    # knows how much of the third one playback has.
    rig.read(created("resp_1"), events.ItemAdded(objects.Item("item_2")))
    rig.heard(messages.HeardItem("item_3", 0, 300, 1000, False))
    for number in (1, 2, 3):
        frames = rig.audio(delta(4, f"item_{number}", f"resp_{number}"), ended(f"item_{number}"))
        assert frames[0].start == (1000 if number == 3 else 0)


# what the judge needs to know


def test_speech_started_ends_no_reply_unless_the_server_decides() -> None:
    rig = Rig()
    rig.read(created(), delta(100))
    rig.replies.speech_started(SPEECH)
    assert len(rig.audio(delta(100))) == 1


def test_a_response_is_generating_until_it_is_interrupted_and_active_until_it_is_done() -> None:
    rig = Rig()
    responses = rig.replies.responses
    rig.read(created())
    assert (responses.any_generating, responses.any_active) == (True, True)
    rig.flush()
    assert (responses.any_generating, responses.any_active) == (False, True)
    rig.read(done())
    assert (responses.any_generating, responses.any_active) == (False, False)


def test_an_out_of_band_response_is_not_generating_and_not_active() -> None:
    rig = Rig()
    responses = rig.replies.responses
    rig.read(created(), done())
    rig.read(created("aside", out_of_band=True), delta(100, "item_a", "aside"))
    assert (responses.any_generating, responses.any_active) == (False, False)
    rig.heard(messages.HeardItem("item_a", 0, 50, 100, False))
    assert not rig.replies.playing


def test_it_plays_while_an_item_is_heard_that_is_not_over() -> None:
    rig = Rig()
    rig.read(created(), delta(100), ended())
    rig.heard(messages.HeardItem("item_1", 0, 50, 100, False))
    assert rig.replies.playing
    rig.heard(messages.HeardItem("item_1", 0, 100, 100, True))
    assert not rig.replies.playing


def test_a_report_from_before_a_flush_does_not_count() -> None:
    rig = Rig()
    rig.read(created(), delta(100))
    rig.heard(messages.HeardItem("item_1", 0, 50, 100, False))
    flush = rig.flush()
    assert not rig.replies.playing
    # Playback has not read the flush yet.
    rig.heard(messages.HeardItem("item_1", 0, 60, 100, False))
    assert not rig.replies.playing
    rig.heard(messages.HeardItem("item_2", 0, 60, 100, False), generation=flush.generation)
    assert rig.replies.playing


def test_a_transcript_says_when_its_item_began() -> None:
    rig = Rig()
    person = objects.Item("item_person", "message", "user")
    rig.read(events.ItemAdded(person))
    [said] = rig.read(events.UserTranscript("item_person", "Yes."))
    [unannounced] = rig.read(events.UserTranscript("item_other", "No."))
    assert isinstance(said, messages.Transcript)
    assert isinstance(unannounced, messages.Transcript)
    assert (said.begun_ns, unannounced.begun_ns) == (7, 0)
