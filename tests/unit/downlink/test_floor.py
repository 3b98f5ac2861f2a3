"""When the assistant has the floor."""

from __future__ import annotations

import pytest

from tests.support.scene import LAG_MS, SILENCE_MS, Scene

pytestmark = pytest.mark.unit


def test_a_generated_reply_that_is_not_heard_yet_is_interrupted_too() -> None:
    scene = Scene()
    scene.latency = 1500
    scene.says(1000, 2000, "first")
    scene.says(2700, 4500, "second")
    scene.run()
    assert len(scene.interrupted) == 1
    # the interruption came before the first answer would have been heard
    assert scene.interrupted[0] < 2000 + SILENCE_MS + LAG_MS + 1500
    assert len(scene.asked) == 2
    assert scene.errors == 0


def test_a_reply_that_falters_is_talked_over_all_the_same() -> None:
    scene = Scene()
    scene.reply(1000, 9000)

    def play(playing: bool) -> None:
        scene.playing = playing
        scene.look()

    scene.at(3400, lambda: play(False))
    scene.at(3500, lambda: play(True))
    scene.says(3000, 6000)
    scene.run()
    assert scene.interrupted == [pytest.approx(3860, abs=2)]
