"""The decisions as a whole: the settings of `interruption.decide`, sessions, random scenes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink import events
from tests.support.scene import MS, Scene

pytestmark = pytest.mark.unit


def test_another_session_knows_nothing_of_what_was_wanted() -> None:
    scene = Scene()
    scene.reply(1000, 4000)
    scene.says(3000, 3200)
    scene.at(3800, lambda: scene.decisions.begin_session(2))
    scene.run(3801)
    decision = scene.decisions.decision()
    assert (decision.session, decision.answer, decision.unwanted) == (2, 0, [])


def test_one_answer_follows_a_reply_that_nothing_interrupts() -> None:
    scene = Scene(decide="never")
    scene.reply(1000, 9000, generated=8000)
    scene.says(3000, 5000, "long")
    scene.says(6000, 6200, "short")
    scene.run()
    assert not any((scene.interrupted, scene.removed, scene.scraps))
    # one request for both turns, when the response under way is done
    assert scene.asked == [8000]
    assert scene.errors == 0


def test_no_answer_is_requested_without_create_response() -> None:
    scene = Scene(decide="never", create_response=False)
    scene.says(3000, 5000)
    scene.run()
    assert scene.asked == []


def test_decisions_do_nothing_if_the_server_decides() -> None:
    scene = Scene(decide="server")
    scene.reply(1000, 9000)
    scene.says(3000, 5000)
    scene.run()
    assert not any((scene.interrupted, scene.asked, scene.removed))


def test_the_button_interrupts_and_what_is_said_is_answered() -> None:
    scene = Scene(decide="push_to_talk")
    scene.reply(1000, 9000)

    def press(talking: bool) -> None:
        scene.press(talking)

    scene.at(3000, lambda: press(True))
    scene.run(3001)
    assert scene.interrupted == [3000]
    decision = scene.decisions.decision()
    assert (decision.talk, decision.talk_ns) == (True, 3000 * MS)
    scene.at(4000, lambda: press(False))
    scene.at(4150, lambda: scene.read(events.Committed("item")))
    scene.run(4200)
    decision = scene.decisions.decision()
    assert (decision.talk, decision.talk_ns) == (False, 4000 * MS)
    assert scene.asked == [4150]
    scene.run()
    assert scene.interrupted == [3000]


@given(
    said=st.lists(
        st.tuples(
            st.integers(600, 4000),  # ms of silence before the speech
            st.one_of(st.integers(100, 420), st.integers(580, 3000)),  # ms of speech
            st.sampled_from(["both", "both", "both", "here", "server"]),
        ),
        min_size=1,
        max_size=12,
    ),
    latency=st.sampled_from([50, 200, 1200]),
    reply_ms=st.sampled_from([400, 3000, 8000]),
)
def test_each_turn_is_answered_or_removed(
    said: list[tuple[int, int, str]], latency: int, reply_ms: int
) -> None:
    scene = Scene()
    scene.latency, scene.reply_ms = latency, reply_ms
    at = 500
    turns: dict[str, tuple[int, int]] = {}
    longest = {"here": 0, "server": 0}
    before = "both"
    for number, (silence, length, heard_by) in enumerate(said):
        # One second apart at least: speech that vad alone hears right before speech that the server
        # alone hears would count as the same speech.
        at += silence if "both" in (heard_by, before) or heard_by == before else silence + 1000
        before = heard_by
        name = f"item_{number}"
        if heard_by != "server":
            scene.voice(at, at + length)
        if heard_by != "here":
            scene.turn(at, at + length, name)
            turns[name] = (at, at + length)
        for each, most in longest.items():
            longest[each] = max(most, length if heard_by in ("both", each) else 0)
        at += length
    scene.run(at + 30_000)
    assert scene.errors == 0, "asked while a response was under way"
    # an answer is requested after each turn that is not deleted
    kept = [end for name, (_, end) in turns.items() if name not in scene.removed]
    if kept:
        assert scene.asked
        assert max(scene.asked) >= max(kept)
    assert len(scene.removed) == len(set(scene.removed))
    # only short turns are deleted, and only long speech interrupts
    assert all(turns[name][1] - turns[name][0] < 500 for name in scene.removed)
    if max(longest.values()) < 500:
        assert scene.interrupted == []
    decision = scene.decisions.decision()
    assert (decision.answer, decision.unwanted) == (0, [])
    assert scene.decisions.due_ns(scene.now * MS) == 0


def test_a_turn_that_interrupts_the_response_which_answered_it_is_answered_again() -> None:
    scene = Scene(words=True)
    scene.reply(1000, 6000)
    scene.turn(3000, 3200, "item")
    scene.at(4000, lambda: scene.create("another"))
    scene.at(4500, lambda: scene.read(events.UserTranscript("item", "Stop, tell me of the tide.")))
    scene.at(5000, lambda: scene.done("another"))
    scene.run()
    assert scene.interrupted
    assert len(scene.asked) == 1
