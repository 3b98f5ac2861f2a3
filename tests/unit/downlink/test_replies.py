"""Turn-taking: which audio is published, and what a flush says."""

from __future__ import annotations

import base64
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.downlink import Reader
from services.downlink import events, objects, replies, responses, transcripts
from services.downlink.audio_item import BadAudio
from services.downlink.replies import Replies
from shared import codec, messages

STAMP = messages.Stamp(0, 0, 0)
SPEECH = events.SpeechStarted(0, "item_person")


def created(response: str = "resp_1", *, out_of_band: bool = False) -> events.Event:
    return events.ResponseCreated(
        objects.Response(response, "in_progress", None if out_of_band else "conv")
    )


def done(response: str = "resp_1", status: str = "completed") -> events.Event:
    return events.ResponseDone(objects.Response(response, status, "conv"))


def delta(
    pcm: bytes | int, item: str = "item_1", response: str = "resp_1", part: int = 0
) -> events.Event:
    """Return a delta with this audio, or with silence of this many samples."""
    data = bytes(2 * pcm) if isinstance(pcm, int) else pcm
    return events.AudioDelta(response, item, base64.b64encode(data).decode(), part)


def ended(item: str = "item_1", response: str = "resp_1", part: int = 0) -> events.Event:
    return events.AudioDone(response, item, part)


class Rig:
    """Replies behind downlink's own dispatch of events."""

    def __init__(self, generation: int = 100, session: int = 1) -> None:
        self.replies = Replies(generation, session)
        self.reader = Reader(self.replies)

    def read(self, *events: events.Event) -> list[messages.Message]:
        """Read events. Return the messages that follow, each of which can be sent over the bus."""
        out = [message for event in events for message in self.reader.read(event, 7)]
        for message in [*out, self.replies.state()]:
            assert sent(message) == message
        return out

    def audio(self, *events: events.Event) -> list[messages.ReplyAudio]:
        return [out for out in self.read(*events) if isinstance(out, messages.ReplyAudio)]

    def flush(self) -> messages.Flush:
        [flush] = self.read(SPEECH)
        assert isinstance(flush, messages.Flush)
        return flush

    def heard(self, *items: messages.HeardItem, generation: int = 100) -> list[messages.Message]:
        heard = messages.Heard(generation=generation, session=1, playing=True, items=list(items))
        return self.replies.heard(heard)


def sent(message: messages.Message) -> messages.Message:
    """Return what a reader of the bus gets."""
    header, payload = codec.encode(message, STAMP)
    return codec.decode(type(message), header, payload)[0]


def pcm_of(frames: list[messages.ReplyAudio]) -> bytes:
    """Join the frames of one item, in which no sample may be missing."""
    at = frames[0].start if frames else 0
    for frame in frames:
        assert frame.start == at
        at += len(frame.payload) // 2
    return b"".join(frame.payload for frame in frames)


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
def test_what_is_not_base64_is_refused_and_changes_nothing(data: str) -> None:
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


def test_what_was_heard_is_not_counted() -> None:
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
def test_what_the_server_has_settled_is_not_counted(confirmation: events.Event) -> None:
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


def test_what_is_active_is_what_is_not_done() -> None:
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


def test_the_end_of_an_item_begun_before_this_downlink_is_told() -> None:
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


# words


def words(out: list[messages.Message]) -> messages.Transcript:
    [transcript] = [message for message in out if isinstance(message, messages.Transcript)]
    return transcript


def test_transcripts_grow_and_are_final() -> None:
    rig = Rig()
    said = words(rig.read(events.TextDelta("resp_1", "item_1", "Good")))
    assert (said.item_id, said.role, said.text, said.final) == (
        "item_1",
        "assistant",
        "Good",
        False,
    )
    assert words(rig.read(events.TextDelta("resp_1", "item_1", " day"))).text == "Good day"
    said = words(rig.read(events.TranscriptDone("resp_1", "item_1", "Good day.")))
    assert (said.text, said.final, said.written) == ("Good day.", True, False)
    assert words(rig.read(events.WrittenDelta("resp_1", "item_2", "H"))).written
    said = words(rig.read(events.TextDone("resp_1", "item_2", "Hm.")))
    assert (said.final, said.written) == (True, True)
    said = words(rig.read(events.UserTranscriptDelta("item_3", "What")))
    assert (said.role, said.text, said.final) == ("user", "What", False)
    said = words(rig.read(events.UserTranscript("item_3", "What?")))
    assert (said.role, said.text, said.final) == ("user", "What?", True)


def test_words_are_marked_with_the_audio_that_came_before_them() -> None:
    rig = Rig()
    rig.read(created(), events.TextDelta("resp_1", "item_1", "One"), delta(12_000))
    rig.read(events.TextDelta("resp_1", "item_1", " two"), delta(12_000))
    said = words(rig.read(events.TextDelta("resp_1", "item_1", " three")))
    assert said.marks == [messages.Mark(0, 0), messages.Mark(3, 12_000), messages.Mark(7, 24_000)]


def test_marks_of_the_end_alone_are_those_of_the_end() -> None:
    # An earlier downlink read the first words.
    rig = Rig()
    rig.read(
        created(), delta(12_000), events.TextDelta("resp_1", "item_1", " three"), delta(12_000)
    )
    rig.read(events.TextDelta("resp_1", "item_1", " four"))
    said = words(rig.read(events.TextDone("resp_1", "item_1", "One two three four")))
    assert said.marks == [messages.Mark(7, 12_000), messages.Mark(13, 24_000)]
    # If the words are not the last ones, their places are unknown.
    rig.read(events.TextDelta("resp_1", "item_2", " five"))
    assert words(rig.read(events.TextDone("resp_1", "item_2", "Hm, no."))).marks == []


def report(*items: messages.HeardItem) -> messages.FlushReport:
    return messages.FlushReport(
        generation=101,
        session=1,
        cause="speech_started",
        event_ns=0,
        flush_ns=0,
        received_ns=0,
        silent_ns=0,
        latency_ns=0,
        items=list(items),
    )


def test_what_was_heard_in_words_is_told_once_the_playhead_stands() -> None:
    rig = Rig()
    rig.read(created())
    for word in ("One", " two", " three", " four"):
        rig.read(events.TextDelta("resp_1", "item_1", word), delta(12_000))
    rig.flush()
    flush_report = report(
        messages.HeardItem("item_1", 0, 30_000, 48_000, False),
        messages.HeardItem("x", 0, 1, 2, True),
    )
    said = words(rig.replies.flush_report(flush_report))
    assert (said.heard, said.unheard) == ("One two", " three four")
    assert rig.replies.flush_report(flush_report) == []
    # The split stays when the rest of the words comes.
    said = words(rig.read(events.TextDelta("resp_1", "item_1", " five")))
    assert (said.heard, said.unheard) == ("One two", " three four five")


def test_what_a_playback_that_died_had_played_counts_as_heard() -> None:
    rig = Rig()
    rig.read(created())
    for word in ("One", " two", " three", " four"):
        rig.read(events.TextDelta("resp_1", "item_1", word), delta(12_000))
    rig.heard(messages.HeardItem("item_1", 0, 30_000, 48_000, False))
    # The next playback has none of the beginning, so it counts nothing of the item.
    rig.heard()
    later = messages.HeardItem("item_1", 0, 0, 48_000, False, broken=True)
    rig.heard(later)
    rig.flush()
    said = words(rig.replies.flush_report(report(later)))
    assert (said.heard, said.unheard) == ("One two", " three four")


def test_what_was_heard_but_for_its_end_is_counted_still() -> None:
    """Playback does not know yet that no more will come: the flush says it."""
    rig = Rig()
    rig.read(created(), delta(10), ended())
    rig.heard(messages.HeardItem("item_1", 0, 10, 10, False))
    assert rig.flush().received == [messages.Received("item_1", 0, 10, True)]


def test_what_was_wholly_heard_is_told_once() -> None:
    rig = Rig()
    rig.read(created(), delta(10), events.TranscriptDone("resp_1", "item_1", "All of it."))
    whole = messages.HeardItem("item_1", 0, 10, 10, True)
    assert rig.heard(whole) == []  # more may come
    rig.read(ended())
    said = words(rig.heard(whole))
    assert (said.heard, said.unheard) == ("All of it.", "")
    assert rig.heard(whole) == []


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


# what the judge needs to know


def test_where_another_decides_the_servers_word_ends_nothing() -> None:
    rig = Rig()
    rig.read(created(), delta(100))
    rig.replies.speech_started(SPEECH)
    assert len(rig.audio(delta(100))) == 1


def test_a_response_is_generating_until_it_is_interrupted_and_active_until_it_is_done() -> None:
    rig = Rig()
    rig.read(created())
    assert (rig.replies.responses.generating, rig.replies.responses.active) == (True, True)
    rig.flush()
    assert (rig.replies.responses.generating, rig.replies.responses.active) == (False, True)
    rig.read(done())
    assert (rig.replies.responses.generating, rig.replies.responses.active) == (False, False)


def test_what_is_outside_the_conversation_is_neither() -> None:
    rig = Rig()
    rig.read(created(), done())
    rig.read(created("aside", out_of_band=True), delta(100, "item_a", "aside"))
    assert (rig.replies.responses.generating, rig.replies.responses.active) == (False, False)
    rig.heard(messages.HeardItem("item_a", 0, 50, 100, False))
    assert not rig.replies.playing


def test_it_plays_while_an_item_is_heard_that_is_not_over() -> None:
    rig = Rig()
    rig.read(created(), delta(100), ended())
    rig.heard(messages.HeardItem("item_1", 0, 50, 100, False))
    assert rig.replies.playing
    rig.heard(messages.HeardItem("item_1", 0, 100, 100, True))
    assert not rig.replies.playing


def test_what_playback_says_of_before_a_flush_is_over() -> None:
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
