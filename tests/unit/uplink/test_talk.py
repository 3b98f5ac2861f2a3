"""Push to talk: the frames of a turn are sent, and the turn is committed or cleared."""

from __future__ import annotations

import pytest

from services.uplink.talk import Talk, TurnEnd
from shared.audio import pcm

pytestmark = pytest.mark.unit

MS = 1_000_000


def sent(talk: Talk, begin_ms: int, end_ms: int) -> list[int]:
    """Offer the frames captured between two times, and return the times (ms) of those sent."""
    times = range(begin_ms, end_ms, 20)
    return [at for at in times if talk.take(at * MS, pcm.FRAME)]


def closing(talk: Talk) -> bool:
    return talk.closing


def test_nothing_is_sent_until_the_button_is_pressed() -> None:
    talk = Talk()
    assert sent(talk, 0, 1000) == []
    talk.release(500 * MS)
    assert not closing(talk)


def test_late_frames_from_before_the_release_are_sent() -> None:
    talk = Talk()
    talk.press(100 * MS)
    assert sent(talk, 0, 300) == list(range(100, 300, 20))
    talk.release(400 * MS)
    assert closing(talk)
    # These frames were captured while the button was pressed, and arrive after its release.
    assert not talk.ends_with(380 * MS)
    assert sent(talk, 300, 600) == list(range(300, 400, 20))
    assert talk.ends_with(400 * MS)
    assert talk.close() is TurnEnd.COMMIT
    assert not closing(talk)
    assert sent(talk, 600, 1000) == []


@pytest.mark.parametrize(
    ("frames", "end"), [(0, TurnEnd.CLEAR), (4, TurnEnd.CLEAR), (5, TurnEnd.COMMIT)]
)
def test_a_turn_takes_a_tenth_of_a_second(frames: int, end: TurnEnd) -> None:
    talk = Talk()
    talk.press(0)
    assert len(sent(talk, 0, frames * 20)) == frames
    talk.release(frames * 20 * MS)
    assert talk.close() is end


def test_each_turn_is_counted_alone_and_a_new_session_has_heard_nothing() -> None:
    talk = Talk()
    talk.press(0)
    sent(talk, 0, 1000)
    talk.press(1000 * MS)
    talk.release(1020 * MS)
    assert talk.close() is TurnEnd.CLEAR
    talk.press(2000 * MS)
    sent(talk, 2000, 3000)
    talk.begin_session()
    talk.release(3000 * MS)
    assert talk.close() is TurnEnd.CLEAR


def test_pressed_again_before_the_turn_was_closed_it_is_another_turn() -> None:
    talk = Talk()
    talk.press(0)
    sent(talk, 0, 1000)
    talk.release(1000 * MS)
    talk.press(1010 * MS)
    assert not closing(talk)
    assert sent(talk, 1000, 1100) == [1020, 1040, 1060, 1080]
