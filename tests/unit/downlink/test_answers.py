"""When a response is asked for, and what happens when it is late, refused or interrupted."""

from __future__ import annotations

import pytest

from services.downlink import events, objects
from services.downlink.answers import ANSWER_TIMEOUT_NS
from tests.support.scene import LAG_MS, MS, SILENCE_MS, Scene

pytestmark = pytest.mark.unit


def test_a_requested_answer_is_interrupted_as_soon_as_it_begins() -> None:
    scene = Scene()
    scene.says(1000, 2000, "first")
    asked = 2000 + SILENCE_MS + LAG_MS
    # the server begins the response 2.5 s after it was asked for
    scene.answers = False
    scene.at(asked + 2500, lambda: scene.create("late"))
    scene.at(asked + 2600, lambda: scene.done("late"))
    scene.voice(2700, 6000)
    scene.turn(2700, 6000, "second")
    scene.run(6000)
    assert scene.interrupted == [pytest.approx(2700 + 860, abs=2), asked + 2500]
    scene.answers = True
    scene.run()
    assert scene.asked == [asked, 6000 + SILENCE_MS + LAG_MS]


def test_an_answer_that_comes_after_the_next_turn_is_for_both() -> None:
    scene = Scene()
    scene.says(1000, 2000, "first")
    scene.answers = False
    asked = 2000 + SILENCE_MS + LAG_MS
    scene.says(2700, 4000, "second")
    scene.at(asked + 3000, lambda: scene.create("late"))
    scene.at(asked + 3100, lambda: scene.done("late"))
    scene.run()
    # the server began the response after the second turn, so it answers both
    assert scene.asked == [asked]
    assert scene.interrupted == [pytest.approx(2700 + 860, abs=2)]


def test_an_answer_waits_until_the_other_response_is_done() -> None:
    scene = Scene()
    scene.reply(1000, 9000, generated=8000)
    scene.says(3000, 5000)
    # the cancelled response is done only 2 s after the interruption
    late = 5900

    def slow() -> None:
        scene.active = "resp_1"
        scene.look()

    scene.at(3960, slow)
    scene.at(late, lambda: scene.done("resp_1"))
    scene.run()
    assert scene.asked == [late]
    assert scene.errors == 0


def test_a_server_that_has_another_response_is_asked_again_when_that_is_done() -> None:
    scene = Scene()
    scene.says(1000, 2000)
    scene.answers = False
    error = events.ErrorEvent(objects.ServerError(code="conversation_already_has_active_response"))
    asked = 2000 + SILENCE_MS + LAG_MS
    scene.at(asked + 50, lambda: scene.read(error))
    scene.at(asked + 60, scene.look)
    scene.run(asked + 900)
    assert scene.asked == [asked]
    scene.answers = True
    scene.at(asked + 1000, lambda: scene.read(events.ResponseDone(objects.Response("unknown"))))
    scene.run()
    assert scene.asked == [asked, asked + 1000]


def test_an_answer_that_never_comes_does_not_block_the_next() -> None:
    scene = Scene()
    scene.answers = False
    scene.says(1000, 2000, "first")
    later = 2000 + ANSWER_TIMEOUT_NS // MS + 3000
    scene.says(later, later + 1000, "second")
    scene.run(later + 5000)
    assert len(scene.asked) == 2
    assert not any((scene.removed, scene.interrupted))


def test_an_answer_to_words_comes_after_the_interruptions_outcome() -> None:
    scene = Scene(words=True)
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says="Stop!")
    scene.run(3300 + SILENCE_MS + 300)
    decision = scene.decisions.decision()
    assert decision.answer
    assert decision.after == 1000
    later = Scene()
    later.says(1000, 2000)
    later.run(2000 + SILENCE_MS + LAG_MS)
    assert later.decisions.decision().after == 0


def test_a_server_that_is_quicker_than_vad_is_not_kept_waiting() -> None:
    scene = Scene()
    scene.voice(1000, 2000)
    scene.at(1150, lambda: scene.read(events.SpeechStarted(700, "item")))
    scene.at(2240, lambda: scene.read(events.SpeechStopped(2200, "item")))
    scene.at(2240, lambda: scene.read(events.Committed("item")))
    scene.run()
    assert scene.asked == [2240]
    assert not any((scene.interrupted, scene.removed))


def test_pressed_again_what_was_said_before_is_answered_with_the_rest() -> None:
    scene = Scene(decide="push_to_talk")
    scene.reply(1000, 9000, generated=8000)
    scene.at(2000, lambda: scene.read(events.Committed("one")))
    scene.at(2500, lambda: scene.press(True))
    scene.at(4000, lambda: scene.read(events.Committed("two")))
    scene.run()
    assert scene.asked == [4000]


def test_a_request_to_another_session_is_not_made_to_this_one() -> None:
    scene = Scene()
    scene.answers = False
    scene.says(1000, 2000)
    scene.run(2600)
    assert scene.decisions.decision().answer
    scene.decisions.begin_session(2)
    assert not scene.decisions.decision().answer


def test_the_button_pressed_before_the_answer_is_there_ends_it_when_it_comes() -> None:
    scene = Scene(decide="push_to_talk")
    scene.at(1000, lambda: scene.read(events.Committed("item")))
    scene.at(1010, lambda: scene.press(True))
    scene.run()
    assert scene.interrupted == [1010, 1000 + LAG_MS]


# texts


def typed(scene: Scene, at: int) -> None:
    scene.at(at, lambda: scene.judged(scene.decisions.text_added(scene.now * MS)))


@pytest.mark.parametrize("decide", ["server", "client", "push_to_talk", "never"])
def test_a_text_is_answered_however_speech_is(decide: str) -> None:
    scene = Scene(decide=decide)
    typed(scene, 1000)
    scene.run()
    assert scene.asked == [1000]


def test_a_text_waits_for_the_response_that_is_under_way() -> None:
    scene = Scene(decide="server")
    scene.reply(1000, 9000, generated=2500)
    typed(scene, 2000)
    scene.run()
    assert scene.asked == [2500]


def test_a_text_is_owed_an_answer_until_a_response_begins() -> None:
    scene = Scene(decide="server")
    scene.answers = False
    typed(scene, 1000)
    open_before: list[bool] = []
    scene.at(1500, lambda: open_before.append(scene.decisions.question_open))
    scene.at(2000, lambda: scene.create("resp"))
    scene.run()
    assert open_before == [True]
    assert not scene.decisions.question_open
