"""Which speech over a reply interrupts it, and which is a scrap: by its length and by its words."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink import events
from tests.support.scene import HANGOVER_MS, LAG_MS, MS, ONSET_MS, SILENCE_MS, Scene

pytestmark = pytest.mark.unit


def test_a_cough_over_a_reply_is_let_go_and_leaves_the_conversation() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 3250)
    scene.run()
    assert scene.interrupted == []
    # vad reports the end of the cough, and the reply goes on at once
    assert scene.scraps == [3250 + HANGOVER_MS]
    assert scene.removed == ["item"]
    assert scene.asked == []
    assert scene.decisions.decision().unwanted == []


def test_speech_over_a_reply_interrupts_it_and_is_answered() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 5000)
    scene.run()
    [at] = scene.interrupted
    # the speech has certainly lasted 500 ms, min_speech_ms
    assert at == pytest.approx(3000 + 500 + HANGOVER_MS + ONSET_MS, abs=2)
    assert scene.asked == [5000 + SILENCE_MS + LAG_MS]
    assert not any((scene.removed, scene.scraps))
    assert scene.decisions.decision().judged == "interrupt"
    assert scene.decisions.decision().onset_ns == 3000 * MS


def test_speech_that_is_long_enough_interrupts_even_when_it_is_over_when_that_is_known() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 3510)
    scene.run()
    assert len(scene.interrupted) == 1
    assert len(scene.asked) == 1
    assert scene.removed == []


def test_while_the_assistant_is_silent_any_turn_is_a_turn() -> None:
    scene = Scene()
    scene.says(1000, 1200, "yes")
    scene.run()
    assert scene.asked == [1200 + SILENCE_MS + LAG_MS]
    assert not any((scene.removed, scene.interrupted))


def test_a_reply_that_comes_to_its_end_meanwhile_makes_it_a_turn() -> None:
    scene = Scene()
    scene.reply(1000, 3100)
    scene.says(3000, 3250)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_a_long_speech_over_the_end_of_a_reply_interrupts_nothing() -> None:
    scene = Scene()
    scene.reply(1000, 3400)
    scene.says(3000, 5000)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_a_scrap_that_ended_before_the_reply_did_is_still_one() -> None:
    scene = Scene()
    scene.reply(1000, 3400)
    scene.says(3000, 3250)
    scene.run()
    assert scene.removed == ["item"]
    assert scene.asked == []


def test_two_scraps_in_a_row_both_go() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    scene.says(4200, 4400, "two")
    # the server hears these two as one turn
    scene.voice(6000, 6200)
    scene.voice(6600, 6800)
    scene.turn(6000, 6800, "both")
    scene.run()
    assert not any((scene.interrupted, scene.asked))
    assert scene.removed == ["one", "two", "both"]
    assert len(scene.scraps) == 4


def test_a_scrap_that_is_joined_with_a_turn_is_part_of_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(3000, 3200)
    scene.voice(3600, 5000)
    scene.turn(3000, 5000)
    scene.run()
    assert scene.scraps == [3500]
    assert len(scene.interrupted) == 1
    assert scene.removed == []
    assert len(scene.asked) == 1


def test_a_scrap_after_an_interruption_is_a_turn_of_its_own() -> None:
    scene = Scene()
    scene.latency = 2500
    scene.reply(1000, 9000)
    scene.says(3000, 4000, "turn")
    # the answer was asked for and has not begun, so the assistant has the floor
    scene.says(5200, 5400, "scrap")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["scrap"]
    assert len(scene.asked) == 1


@pytest.mark.parametrize(
    ("says", "rules", "interrupts"),
    [
        ("Stop!", {}, True),
        ("Mm-hm.", {}, False),
        ("Yeah, right. Okay…", {}, False),
        ("Okay, but why?", {}, True),
        ("Stop!", {"min_words": 2}, False),
        ("Stop it!", {"min_words": 2}, True),
        ("Genau.", {"backchannels": ["genau"]}, False),
        ("GENAU", {"backchannels": ["Genau"]}, False),
        (".", {}, False),
    ],
)
def test_short_speech_is_judged_by_its_words(
    says: str, rules: dict[str, Any], interrupts: bool
) -> None:
    scene = Scene(words=True, **rules)
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says=says)
    scene.run()
    assert scene.interrupted == ([3300 + SILENCE_MS + 300] if interrupts else [])
    assert scene.removed == ([] if interrupts else ["item"])
    assert scene.scraps == ([] if interrupts else [3300 + SILENCE_MS + 300])
    assert len(scene.asked) == interrupts
    if interrupts:
        # the server must know how much of the reply was heard before it answers
        assert scene.asked[0] >= scene.interrupted[0]


def test_words_that_never_come_are_not_waited_for_longer_than_they_may_take() -> None:
    scene = Scene(words=True, words_limit_ms=1200)
    scene.reply(1000, 9000)
    scene.says(3000, 3300)
    scene.run()
    assert scene.scraps == [pytest.approx(3300 + 1200, abs=1)]
    assert scene.removed == ["item"]


def test_without_a_transcription_words_are_not_waited_for() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says="Stop!")
    scene.run()
    assert scene.interrupted == []
    assert scene.removed == ["item"]


def test_a_word_that_has_only_begun_does_not_count() -> None:
    scene = Scene(words=True)
    scene.reply(1000, 9000)
    scene.says(3000, 3300)
    for at, delta in ((3500, "ye"), (3550, "ah, "), (3600, "wa")):
        scene.at(at, lambda d=delta: scene.read(events.UserTranscriptDelta("item", d)))  # type: ignore[misc]
    scene.run(3700)
    assert scene.interrupted == []
    scene.at(3750, lambda: scene.read(events.UserTranscriptDelta("item", "it ")))
    scene.run()
    assert scene.interrupted == [3750]


@pytest.mark.parametrize("begin", [1000, 1900])
def test_speech_that_began_in_silence_is_a_turn_however_it_ends(begin: int) -> None:
    scene = Scene()
    scene.reply(2100, 4000)
    scene.says(begin, 2200)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_no_turn_waits_for_ever_for_vad() -> None:
    scene = Scene()
    scene.reply(1000, 3100)
    for again in range(3060, 12_000, 1000):
        scene.at(again, lambda: scene.hear(3000, speaking=True))
    scene.turn(3000, 3300)
    scene.run(12_000)
    committed = 3300 + SILENCE_MS + LAG_MS
    assert scene.asked == [pytest.approx(committed + HANGOVER_MS + 800, abs=2)]
