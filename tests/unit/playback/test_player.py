"""Which audio is played, and how much of each item counts as heard."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.playback.player import (
    MAX_ITEMS,
    MAX_REFUSED_RESPONSES,
    MAX_REMEMBERED_ITEMS,
    MAX_SHOWN_ITEMS,
    Player,
)
from shared import messages
from tests.support.playing import FADE, counting, frame, heard, play, playing, reported

pytestmark = pytest.mark.unit


# the items that a flush reports


def test_items_are_reported_in_playing_order() -> None:
    player = Player(1, 0, 0)
    player.push(frame(100, "item_1", last=True))
    player.push(frame(50, "item_2"))
    player.push(frame(10, "item_2", content_index=1))
    play(player, 120)
    assert [(i.item_id, i.content_index, i.heard, i.received) for i in player.items()] == [
        ("item_1", 0, 100, 100),
        ("item_2", 0, 20, 50),
        ("item_2", 1, 0, 10),
    ]
    assert player.session == 7


def test_a_flush_tells_how_far_each_item_was_heard() -> None:
    player = Player(1, 0, 0)
    player.push(frame(100, "item_1", last=True))
    player.push(frame(200, "item_2", last=True))
    player.push(frame(300, "item_3"))
    play(player, 150)
    cut = player.flush(
        2,
        [
            messages.Received("item_2", 0, 200, True),
            messages.Received("item_3", 0, 5000, True),  # downlink has published more than has come
            messages.Received("item_4", 0, 700, False),
            messages.Received("item_4", 1, 0, False),
        ],
        ["resp_1"],
    )
    # item_1 was heard to its end, so it is not reported
    assert reported(cut) == [
        ("item_2", 50, 200, True),
        ("item_3", 0, 5000, True),
        ("item_4", 0, 700, False),
        ("item_4", 0, 0, False),
    ]
    assert reported(player.flush(3, [messages.Received("item_3", 0, 9000, True)])) == []


def test_an_item_whose_end_is_not_known_is_reported_though_all_of_it_was_heard() -> None:
    player = playing(100, 100)
    assert reported(player.flush(2, [messages.Received("item_1", 0, 100, False)])) == [
        ("item_1", 100, 100, False)
    ]
    player = playing(100, 100)
    assert reported(player.flush(2, [messages.Received("item_1", 0, 100, True)])) == []


@pytest.mark.parametrize("generation", [0, 1])
def test_an_older_flush_changes_nothing(generation: int) -> None:
    player = playing(1000, 100)
    assert player.flush(generation, [messages.Received("item_2", 0, 5, True)], ["resp_1"]) is None
    assert player.generation == 1
    assert np.array_equal(play(player, 100), counting(100, 101))
    player.push(frame(10, start=1000))
    assert player.stale_samples == 0


def test_the_generation_grows_with_the_flush() -> None:
    player = Player(1, 0, 0)
    assert player.flush(5) == []
    assert player.generation == 5
    assert player.flush(4) is None
    assert player.generation == 5


# audio that a flush has ended


@pytest.mark.parametrize("last", [False, True])
def test_audio_of_an_older_generation_is_never_heard(last: bool) -> None:
    player = Player(1, 0, FADE)
    player.flush(2)
    assert player.push(frame(500, last=last)) is None
    assert not player.playing
    assert not play(player, 1000).any()
    assert player.stale_samples == 500
    assert player.items() == []


@pytest.mark.parametrize("item", ["item_1", "item_2"])
def test_a_response_that_was_ended_is_never_heard_again(item: str) -> None:
    """A newer generation does not help: a restarted downlink may publish the response again."""
    player = playing(1000, 100)
    player.flush(2)
    assert player.push(frame(500, item, start=1000, generation=3)) == []
    assert player.generation == 3
    assert not play(player, 1000).any()
    assert player.stale_samples == 500


def test_a_response_that_the_flush_names_is_never_heard() -> None:
    player = Player(1, 0, 0)
    player.flush(2, interrupted=["resp_1"])
    player.push(frame(500, generation=2))
    assert not play(player, 1000).any()
    player.push(frame(500, "item_2", generation=2, response="resp_2"))
    assert play(player, 500).all()


def test_an_item_that_the_flush_names_is_never_heard() -> None:
    player = Player(1, 0, 0)
    player.flush(2, [messages.Received("item_1", 0, 10, False)])
    player.push(frame(500, generation=2, start=10))
    assert not play(player, 1000).any()
    assert player.stale_samples == 500


def test_a_flush_that_was_lost_is_made_up_for_by_the_next_reply() -> None:
    player = playing(1000, 100, fade=FADE)
    player.push(frame(200, "item_2"))
    cut = player.push(frame(counting(50), "item_3", generation=2, response="resp_2", last=True))
    assert reported(cut) == [("item_1", 100 + FADE, 1000, False), ("item_2", 0, 200, False)]
    assert player.generation == 2
    out = play(player, 500)
    assert np.array_equal(out[FADE : FADE + 50], counting(50))
    assert not out[FADE + 50 :].any()
    assert player.flush(2, [messages.Received("item_1", 0, 1000, True)], ["resp_1"]) is None


def test_a_reply_goes_on_under_another_downlink() -> None:
    """A restarted downlink publishes a newer generation, but nobody interrupted the reply.

    The audio that the server sent meanwhile is lost, so what follows does not count as heard.
    """
    player = Player(1, 0, FADE)
    player.push(frame(counting(100)))
    player.push(frame(counting(100), "item_2"))
    play(player, 50)
    assert player.push(frame(counting(100, 101), "item_2", start=100, generation=9)) == []
    out = np.concatenate([play(player, 50), play(player, 200)])
    expected = np.concatenate([counting(50, 51), counting(200)])
    assert np.array_equal(out, expected)
    assert heard(player) == {"item_1": 100, "item_2": 100}


def test_another_downlink_that_counts_from_nothing_is_followed() -> None:
    player = Player(1, 0, 0)
    player.push(frame(counting(300)))
    player.push(frame(counting(100, 301), start=0, generation=9))
    player.push(frame(counting(100, 401), start=100, generation=9))
    player.push(frame(start=200, generation=9, last=True))
    assert np.array_equal(play(player, 500), counting(500))
    [item] = player.items()
    # the server may have sent audio while no downlink ran, so nothing more counts
    assert (item.heard, item.received, item.done) == (300, 500, True)
    assert player.gap_samples == 0


def test_an_item_whose_beginning_is_unknown_does_not_count_as_heard() -> None:
    """A downlink that has not read an item's beginning counts its samples from 1, not 0."""
    player = Player(1, 0, 0)
    for start in (1, 101):
        player.push(frame(counting(100, start), start=start, generation=9, last=start > 1))
    # the audio is played all the same
    assert np.array_equal(play(player, 200), counting(200))
    [item] = player.items()
    assert (item.heard, item.received, item.broken) == (0, 201, True)


# out of band


def test_a_reply_outside_the_conversation_survives_a_flush() -> None:
    aside = counting(300, 5000)
    player = Player(1, 0, FADE)
    player.push(frame(counting(1000)))
    player.push(frame(aside[:100], "aside", response="resp_2", out_of_band=True))
    play(player, 980)
    assert reported(player.flush(2, interrupted=["resp_1"])) == [("item_1", 1000, 1000, False)]
    player.push(frame(aside[100:200], "aside", 100, response="resp_2", out_of_band=True))
    player.push(
        frame(
            aside[200:], "aside", 200, response="resp_2", out_of_band=True, generation=2, last=True
        )
    )
    out = play(player, 500)
    # only the cut item fades: every sample of the other one is there at full level
    assert np.array_equal(out[20:320], aside)
    assert not out[320:].any()
    assert heard(player)["aside"] == 300
    assert player.stale_samples == 0


def test_a_reply_outside_the_conversation_is_not_interrupted_in_the_midst() -> None:
    aside = counting(300)
    player = Player(1, 0, FADE)
    player.push(frame(aside, "aside", response="resp_2", out_of_band=True, last=True))
    player.push(frame(500, "item_1"))
    play(player, 100)
    assert reported(player.flush(2)) == [("item_1", 0, 500, False)]
    out = play(player, 1000)
    assert np.array_equal(out[:200], aside[100:])
    assert not out[200:].any()


def test_a_newer_reply_outside_the_conversation_tells_of_a_lost_flush_too() -> None:
    player = playing(1000, 100)
    cut = player.push(
        frame(counting(50), "aside", response="resp_2", generation=2, out_of_band=True)
    )
    assert reported(cut) == [("item_1", 100, 1000, False)]
    assert np.array_equal(play(player, 50), counting(50))


# chunks that overlap, and gaps


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), min_size=1, max_size=12))
def test_audio_that_comes_twice_is_heard_once(stretches: list[tuple[int, int]]) -> None:
    sound = counting(1000)
    player = Player(1, 0, 0)
    end = 0
    for start, samples in stretches:
        begin = min(start, end)  # any overlap, but no gap
        player.push(frame(sound[begin : begin + samples], start=begin))
        end = max(end, min(begin + samples, len(sound)))
    assert np.array_equal(play(player, end), sound[:end])
    assert not play(player, 100).any()
    assert heard(player).get("item_1", 0) == end
    assert player.gap_samples == 0


def test_missing_audio_is_counted_and_nothing_after_it_counts_as_heard() -> None:
    player = playing(100, 50)
    player.push(frame(counting(100, 201), start=200))
    assert player.gap_samples == 100
    out = play(player, 100)
    assert np.array_equal(out, np.concatenate([counting(50, 51), counting(50, 201)]))
    # the server truncates an item to a beginning, so nothing after the gap counts
    assert heard(player) == {"item_1": 100}
    assert player.items()[0].received == 300
    player.push(frame(start=300, last=True))
    play(player, 100)
    assert not player.items()[0].whole
    assert reported(player.flush(2)) == [("item_1", 100, 300, True)]


def test_an_end_beyond_what_came_is_not_heard() -> None:
    player = playing(100, 50)
    player.push(frame(start=400, last=True))
    play(player, 500)
    [item] = player.items()
    assert (item.heard, item.received, item.done, item.whole) == (100, 400, True, False)
    assert reported(player.flush(2)) == [("item_1", 100, 400, True)]


def test_a_player_that_begins_in_the_midst_of_an_item_counts_nothing_and_does_not_click() -> None:
    player = Player(0, 0, FADE)
    assert player.push(frame(np.full(500, 10_000, np.int16), start=7000)) == []
    out = play(player, 200).astype(int)
    assert out[0] == 0
    assert all(a < b for a, b in pairwise(out[:FADE]))
    # the playback that died has already published how much of the beginning was heard
    assert heard(player) == {"item_1": 0}
    assert player.items()[0].received == 7500
    assert player.gap_samples == 0


def test_an_empty_item_is_whole() -> None:
    player = Player(1, 0, 0)
    player.push(frame(last=True))
    assert not player.playing
    assert [item.whole for item in player.items()] == [True]
    assert reported(player.flush(2)) == []


# limits


def test_memory_is_bounded() -> None:
    player = Player(0, 0, FADE)
    for n in range(3000):
        for _ in range(2):
            player.push(frame(5, f"item_{n}", response=f"resp_{n}", generation=n))
        if n % 2:
            play(player, 3)
        player.flush(n + 1, [messages.Received(f"other_{n}", 0, 1, False)], [f"more_{n}"])
    assert len(player._tracks) <= MAX_REMEMBERED_ITEMS
    assert len(player._refused) <= MAX_REFUSED_RESPONSES
    assert len(player.items()) == MAX_SHOWN_ITEMS
    assert not player.output._queue
    # a long conversation that nobody interrupts
    player = Player(0, 0, FADE)
    for n in range(3000):
        player.push(frame(5, f"item_{n}", response=f"resp_{n}", last=True))
        play(player, 5)
    assert len(player._tracks) <= MAX_REMEMBERED_ITEMS


def test_an_item_that_waits_to_be_played_is_never_forgotten() -> None:
    player = Player(1, 0, 0)
    items = 3 * MAX_REMEMBERED_ITEMS
    for n in range(items):
        player.push(frame(10, f"item_{n}", last=True))
    assert np.count_nonzero(play(player, 10 * items)) == 10 * items
    # all items were heard to their end, so none is reported
    assert reported(player.flush(2)) == []


# messages that no correct stage sends


def test_the_queue_has_a_limit_of_items() -> None:
    player = Player(1, 0, 0)
    for n in range(MAX_ITEMS + 5):
        player.push(frame(10, f"item_{n}", last=True))
    assert player.overflow_samples == 50
    # queued items are not forgotten, and items that were heard are
    assert play(player, 10 * MAX_ITEMS).all()
    assert not play(player, 10).any()
    for n in range(3):
        player.push(frame(10, f"later_{n}", last=True))
        assert play(player, 10).all()
    assert len(player._tracks) == MAX_REMEMBERED_ITEMS
    assert player.overflow_samples == 50


def test_an_item_that_waits_is_not_forgotten_and_one_that_was_cut_is() -> None:
    player = Player(1, 0, 0)
    player.push(frame(1000, "first"))
    player.push(frame(10, "apart", response="apart", out_of_band=True))
    play(player, 100)
    player.flush(2)
    assert {key[0]: track.queued_chunks for key, track in player._tracks.items()} == {
        "first": 0,
        "apart": 1,
    }
    for n in range(MAX_REMEMBERED_ITEMS):
        player.push(frame(10, f"item_{n}", generation=2, response="next"))
    assert "first" not in {key[0] for key in player._tracks}
    assert play(player, 10 + 10 * MAX_REMEMBERED_ITEMS).all()


@pytest.mark.parametrize("generation", [messages.LAST_GENERATION + 1, 2**63 - 1])
def test_a_generation_that_cannot_be_silences_nothing(generation: int) -> None:
    player = playing(1000, 100)
    assert player.flush(generation) is None
    assert player.push(frame(10, "other", generation=generation)) is None
    assert player.push(frame(10, "other", generation=generation, out_of_band=True)) is None
    assert (player.generation, player.playing) == (1, True)
    assert play(player, 900).all()
    assert "other" not in heard(player)


def test_places_that_cannot_be_never_make_numbers_that_are_no_message() -> None:
    player = Player(1, 0, 0)
    known = messages.Received("item_1", 0, 2**63 - 1, False)
    for generation in range(2, 80):
        player.flush(generation, [known] if generation % 3 else [])
        for start in (0, messages.MAX_ITEM_SAMPLES - 10, 2**63 - 1):
            player.push(frame(10, start=start, generation=generation, response=f"r{generation}"))
        player.render(20)
        for item in player.items():
            assert 0 <= item.heard <= item.received < 2**63
