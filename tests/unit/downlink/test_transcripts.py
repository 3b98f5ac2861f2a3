"""The words of an item: they grow, they end, and they are split where the playhead stopped."""

from __future__ import annotations

from services.downlink.audio_item import AudioItem
from services.downlink.transcripts import MAX_TRANSCRIPT, Transcripts
from shared import messages


def test_words_are_added_until_the_final_ones_replace_them() -> None:
    texts = Transcripts()
    assert texts.add("item", "assistant", "Good ", 0)
    assert texts.add("item", "assistant", "day", 24_000)
    [said] = texts.message(7, "item", None)
    assert isinstance(said, messages.Transcript)
    assert (said.session, said.text, said.final) == (7, "Good day", False)
    assert said.marks == [messages.Mark(0, 0), messages.Mark(5, 24_000)]
    texts.finish("item", "assistant", "Good day.")
    [said] = texts.message(7, "item", None)
    assert isinstance(said, messages.Transcript)
    assert (said.text, said.final) == ("Good day.", True)


def test_an_item_without_words_has_no_transcript() -> None:
    texts = Transcripts()
    assert texts.message(7, "item", None) == []
    texts.add("item", "user", "Yes", 0)
    texts.clear()
    assert texts.message(7, "item", None) == []


def test_words_past_the_limit_are_not_added() -> None:
    texts = Transcripts()
    assert texts.add("item", "user", "x" * MAX_TRANSCRIPT, 0)
    assert not texts.add("item", "user", "y", 0)


def test_the_words_are_split_once_the_playhead_stopped() -> None:
    texts = Transcripts()
    texts.add("item", "assistant", "Good ", 0)
    texts.add("item", "assistant", "day", 24_000)
    audio = AudioItem("resp", "item", 0, out_of_band=False, received=48_000, done=True)
    [said] = texts.message(7, "item", audio)
    assert isinstance(said, messages.Transcript)
    assert (said.heard, said.unheard) == ("", "")
    audio.stopped_at = 24_000
    [said] = texts.message(7, "item", audio)
    assert isinstance(said, messages.Transcript)
    assert (said.heard, said.unheard) == ("Good", " day")
