"""The words of a reply: its transcript, and which words were heard."""

from __future__ import annotations

from services.downlink import events
from shared import messages
from tests.support.replying import Rig, created, delta, ended, words


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


def test_the_heard_words_are_published_once_the_playhead_stops() -> None:
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


def test_the_audio_that_a_dead_playback_played_counts_as_heard() -> None:
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


def test_an_item_heard_but_for_its_end_is_still_counted() -> None:
    """Playback does not know yet that no more will come: the flush says it."""
    rig = Rig()
    rig.read(created(), delta(10), ended())
    rig.heard(messages.HeardItem("item_1", 0, 10, 10, False))
    assert rig.flush().received == [messages.Received("item_1", 0, 10, True)]


def test_a_reply_that_was_wholly_heard_is_reported_once() -> None:
    rig = Rig()
    rig.read(created(), delta(10), events.TranscriptDone("resp_1", "item_1", "All of it."))
    whole = messages.HeardItem("item_1", 0, 10, 10, True)
    assert rig.heard(whole) == []  # more may come
    rig.read(ended())
    said = words(rig.heard(whole))
    assert (said.heard, said.unheard) == ("All of it.", "")
    assert rig.heard(whole) == []
