"""When an answer is asked for: after the turn's commit, or after the turn's transcript."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink import events, objects
from services.downlink.decisions import Decisions
from shared.config import Config, Interruption, Session
from tests.support.scene import MS

BUSY = objects.ServerError("busy", code="conversation_already_has_active_response")


class Person:
    """A person who pushes to talk, and downlink's decisions. Times are ms."""

    def __init__(self, **session: Any) -> None:
        rules = Interruption(decide="push_to_talk")
        self.decisions = Decisions(Config(interruption=rules, session=Session(**session)), 100)
        self.decisions.begin_session(1)

    def commit(self, at: int, name: str = "item_1") -> None:
        self.decisions.committed(events.Committed(name), at * MS)

    def words(self, at: int, name: str = "item_1", text: str = "Yes.") -> None:
        self.decisions.words_final(name, text, at * MS)

    def begin(self, at: int) -> None:
        self.decisions.response_created(out_of_band=False, now_ns=at * MS)

    def asked(self, at: int) -> int:
        """Return the number of the request that is under way, or 0."""
        self.decisions.weigh(at * MS)
        return self.decisions.decision().answer


def test_an_answer_is_asked_for_at_the_commit_by_default() -> None:
    person = Person()
    person.commit(1000)
    assert person.asked(1000) == 101


@pytest.mark.parametrize("text", ["What is the tide?", ""])
def test_an_answer_waits_for_the_transcript_or_for_the_news_that_there_is_none(text: str) -> None:
    person = Person(answer_after="transcript")
    person.commit(1000)
    assert person.asked(2500) == 0
    person.words(2600, text=text)
    assert person.asked(2600) == 101
    assert person.asked(9000) == 0


def test_an_answer_waits_no_longer_than_the_limit() -> None:
    person = Person(answer_after="transcript", transcript_limit_ms=1500)
    person.commit(1000)
    assert person.decisions.due_ns(1000 * MS) == 2500 * MS
    assert person.asked(2499) == 0
    assert person.asked(2500) == 101


def test_words_that_came_before_the_commit_are_enough() -> None:
    person = Person(answer_after="transcript")
    person.decisions.speech_started(events.SpeechStarted(0, "item_1"), 500 * MS)
    person.words(900)
    person.commit(1000)
    assert person.asked(1000) == 101


def test_a_transcript_that_nobody_asked_for_makes_the_next_answers_wait() -> None:
    person = Person()
    person.commit(1000)
    assert person.asked(1000) == 101
    person.words(1500)
    person.begin(1600)
    person.decisions.response_done(1700 * MS)
    person.commit(5000, "item_2")
    assert person.asked(5500) == 0
    person.words(5600, "item_2")
    assert person.asked(5600) == 102


@pytest.mark.parametrize(
    "settings", [{"answer_after": "commit"}, {"transcription_model": "gpt-transcribe"}]
)
def test_a_transcript_that_was_asked_for_or_does_not_matter_changes_nothing(
    settings: dict[str, Any],
) -> None:
    person = Person(**settings)
    person.commit(1000)
    person.words(1500)
    person.begin(1600)
    person.decisions.response_done(1700 * MS)
    person.commit(5000, "item_2")
    assert person.asked(5000) == 102


def test_the_words_of_a_turn_without_a_name_end_its_wait() -> None:
    person = Person(answer_after="transcript")
    person.commit(1000, "turn_without_id_1")
    assert person.asked(1500) == 0
    person.words(1600, "item_9")
    assert person.asked(1600) == 101


def test_a_press_of_the_button_leaves_the_answer_to_the_next_turn() -> None:
    person = Person(answer_after="transcript")
    person.commit(1000)
    person.decisions.set_button(pressed=True, at_ns=1200 * MS)
    person.words(1500)
    assert person.asked(1500) == 0
    person.commit(3000, "item_2")
    person.words(3500, "item_2")
    assert person.asked(3500) == 101


def test_a_response_to_an_earlier_turn_does_not_answer_words_that_the_server_has_not() -> None:
    person = Person(answer_after="transcript")
    person.commit(1000)
    person.words(1100)
    assert person.asked(1100) == 101
    person.commit(1200, "item_2")
    person.begin(1300)
    person.decisions.response_done(1400 * MS)
    person.words(1500, "item_2")
    assert person.asked(1500) == 102
