"""Which speech counts, as vad and the server hear it, and to which turn it belongs."""

from __future__ import annotations

import pytest

from services.downlink import events
from services.downlink.speech import VAD_TIMEOUT_NS
from tests.support.scene import HANGOVER_MS, MS, ONSET_MS, SILENCE_MS, STARTED_MS, Scene

pytestmark = pytest.mark.unit


def test_a_microphone_that_comes_late_makes_no_cough_longer() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    # both reports of vad come 400 ms late
    scene.at(3000 + ONSET_MS + 400, lambda: scene.hear(3000, speaking=True))
    scene.at(3400 + HANGOVER_MS + 400, lambda: scene.hear(3400, speaking=False))
    scene.turn(3400, 3800)
    scene.run()
    assert scene.interrupted == []
    assert scene.removed == ["item"]


def test_the_end_that_vad_reports_decides_how_long_a_speech_was() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    for until in range(3060, 4000, 60):
        scene.at(until + 10, lambda u=until: scene.hear(3000, speaking=True, until=u))  # type: ignore[misc]
    scene.says(3000, 4000)
    scene.run()
    # decided by `until_ns`, as soon as it says that the speech lasted 500 ms
    assert scene.interrupted == [3540 + 10]
    stalled = Scene()
    stalled.reply(1000, 8000)
    stalled.at(3070, lambda: stalled.hear(3000, speaking=True, until=3060))
    stalled.at(5000, lambda: stalled.hear(3240, speaking=False))
    stalled.run()
    assert stalled.interrupted == []
    assert stalled.scraps == [5000]


@pytest.mark.parametrize(
    ("pause", "silence_ms", "interrupts"),
    [(480, SILENCE_MS, True), (560, SILENCE_MS, False), (560, 700, False), (480, 450, False)],
)
def test_a_sentence_that_is_heard_in_pieces_is_as_long_as_they_are_together(
    pause: int, silence_ms: int, *, interrupts: bool
) -> None:
    scene = Scene(silence_ms=silence_ms)
    scene.reply(1000, 9000)
    scene.voice(3000, 3200)
    scene.voice(3200 + pause, 3400 + pause)
    begin = 3400 + 2 * pause
    scene.voice(begin, begin + 400)
    scene.turn(3000, begin + 400)
    scene.run()
    # the three pieces together have lasted 500 ms 100 ms into the third one
    long_enough = begin + 100 + ONSET_MS + HANGOVER_MS
    assert scene.interrupted == pytest.approx([long_enough] if interrupts else [], abs=2)
    assert scene.removed == ([] if interrupts else ["item"])
    assert len(scene.asked) == interrupts


def test_speech_before_a_reply_does_not_count_towards_its_interruption() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(100, 850)
    scene.voice(1100, 1400)
    scene.run()
    assert scene.interrupted == []


@pytest.mark.parametrize(("length", "interrupts"), [(250, False), (1500, True)])
def test_speech_that_only_the_server_hears_is_judged_by_its_account(
    length: int, interrupts: bool
) -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.turn(3000, 3000 + length)
    scene.run()
    assert len(scene.interrupted) == interrupts
    assert len(scene.asked) == interrupts
    assert scene.removed == ([] if interrupts else ["item"])
    if interrupts:
        # until the server's silence has passed, the speech may already have ended
        assert scene.interrupted[0] == pytest.approx(3000 + STARTED_MS + 500 + SILENCE_MS, abs=2)


def test_speech_that_only_vad_hears_interrupts_and_gets_no_answer() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(3000, 4500)
    scene.run()
    assert len(scene.interrupted) == 1
    assert not any((scene.asked, scene.removed))
    # the speech does not become part of a later turn
    scene.reply(11_000, 19_000)
    scene.says(13_000, 13_200, "scrap")
    scene.run(30_000)
    assert len(scene.interrupted) == 1
    assert scene.removed == ["scrap"]


def test_a_scrap_that_the_server_missed_is_no_part_of_a_later_turn() -> None:
    scene = Scene()
    scene.reply(1000, 4000)
    scene.voice(3000, 3200)
    # vad does not hear this speech
    scene.turn(6000, 6300, "turn")
    scene.run()
    assert scene.scraps == [3500]
    assert scene.removed == []
    assert len(scene.asked) == 1


def test_a_vad_that_dies_in_mid_speech_does_not_interrupt_for_ever() -> None:
    scene = Scene()
    scene.at(1060, lambda: scene.hear(1000, speaking=True))
    scene.reply(1060 + VAD_TIMEOUT_NS // MS + 1000, 12_000)
    scene.run()
    assert scene.interrupted == []


def test_a_turn_is_answered_although_vad_never_says_that_it_is_over() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.at(2990 + ONSET_MS, lambda: scene.hear(2990, speaking=True))
    for again in range(4000, 12_000, 1000):
        scene.at(again, lambda: scene.hear(2990, speaking=True))
    scene.turn(3000, 4500)
    scene.run(12_000)
    assert len(scene.interrupted) == 1
    assert len(scene.asked) == 1


def test_a_turn_whose_beginning_was_told_to_another_downlink_is_answered() -> None:
    scene = Scene()
    scene.at(1000, lambda: scene.read(events.Committed("item")))
    scene.run()
    assert scene.asked == [1000]


def test_a_silence_that_the_server_answers_by_itself_is_not_answered_twice() -> None:
    scene = Scene()
    scene.at(1000, lambda: scene.read(events.TimeoutTriggered("silence")))
    scene.at(1000, lambda: scene.read(events.Committed("silence")))
    scene.run()
    assert scene.asked == []


def test_speech_whose_end_was_lost_ends_with_the_next() -> None:
    scene = Scene()
    scene.at(1060, lambda: scene.hear(1000, speaking=True))
    scene.voice(1800, 1950)
    scene.reply(2100, 9000)
    scene.run()
    assert scene.interrupted == []


def test_a_turn_is_not_judged_by_the_speech_before_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    # vad does not hear this speech
    scene.turn(3800, 5400, "two")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["one"]
    assert len(scene.asked) == 1


def test_a_turn_is_not_judged_by_the_speech_after_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    # the second speech begins before the server reports the end of the first turn
    scene.says(3660, 6000, "two")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["one"]
    assert len(scene.asked) == 1
