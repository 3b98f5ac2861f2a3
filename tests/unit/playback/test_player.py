"""The player: every sample accounted for, silence without a click, and nothing stale."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.playback.output import MAX_QUEUED_CHUNKS, MAX_QUEUED_SAMPLES
from services.playback.player import (
    MAX_ITEMS,
    MAX_REFUSED_RESPONSES,
    MAX_REMEMBERED_ITEMS,
    MAX_SHOWN_ITEMS,
    Player,
)
from services.playback.track import MAX_ITEM_SAMPLES
from shared import messages
from shared.audio import pcm

FADE = 72  # samples: 3 ms
JITTER = 960  # samples: 40 ms

Samples = NDArray[np.int16]


def counting(samples: int, first: int = 1) -> Samples:
    """Give samples that tell their place, none of them silent."""
    return (np.arange(first, first + samples) % 32767 + 1).astype(np.int16)


def frame(
    sound: Samples | int = 0,
    item: str = "item_1",
    start: int = 0,
    *,
    generation: int = 1,
    response: str = "resp_1",
    content_index: int = 0,
    last: bool = False,
    out_of_band: bool = False,
) -> messages.ReplyAudio:
    """Give a stretch of an item; of so many samples that are all the same, where it is a number."""
    samples = np.full(sound, 1000, np.int16) if isinstance(sound, int) else sound
    return messages.ReplyAudio(
        generation=generation,
        session=7,
        response_id=response,
        item_id=item,
        content_index=content_index,
        start=start,
        last=last,
        out_of_band=out_of_band,
        payload=pcm.from_array(samples),
    )


def play(player: Player, samples: int) -> Samples:
    out = player.render(samples)
    assert len(out) == samples * pcm.SAMPLE_BYTES
    return pcm.to_array(out)


def heard(player: Player) -> dict[str, int]:
    return {item.item_id: item.heard for item in player.items()}


def told(cut: list[messages.HeardItem] | None) -> list[tuple[str, int, int, bool]]:
    assert cut is not None
    return [(item.item_id, item.heard, item.received, item.done) for item in cut]


def playing(
    samples: int, played: int, *, fade: int = 0, sound: Samples | None = None, last: bool = False
) -> Player:
    """Give a player in the midst of an item."""
    player = Player(1, 0, fade)
    player.push(frame(counting(samples) if sound is None else sound, last=last))
    play(player, played)
    return player


chunks = st.lists(st.integers(1, 700), min_size=1, max_size=30)
buffers = st.lists(st.integers(1, 900), min_size=1, max_size=10)


# what goes in comes out


@given(chunks, buffers, st.sampled_from([0, 1, 240, JITTER]), st.sampled_from([0, 1, FADE]))
def test_what_comes_in_time_is_played_sample_by_sample(
    cuts: list[int], sizes: list[int], jitter: int, fade: int
) -> None:
    """Any stretches, any device buffers: the same samples, in one piece, and no fade in them."""
    sound = counting(sum(cuts))
    player = Player(1, jitter, fade)
    at = 0
    for cut in cuts:
        player.push(frame(sound[at : at + cut], start=at, last=at + cut == len(sound)))
        at += cut
    out: list[Samples] = []
    while player.playing:
        out.append(play(player, sizes[len(out) % len(sizes)]))
        assert heard(player)["item_1"] == min(len(sound), sum(map(len, out)))
    given_back = np.concatenate(out)
    assert np.array_equal(given_back[: len(sound)], sound)
    assert not given_back[len(sound) :].any()
    assert player.underruns == 0


@given(st.data())
def test_what_comes_at_any_time_is_played_sample_by_sample(data: st.DataObject) -> None:
    """However the stretches and the buffers fall between each other, nothing is lost or doubled."""
    player = Player(1, data.draw(st.sampled_from([0, 1, 240, JITTER])), 0)
    pushed: list[Samples] = []
    out: list[Samples] = []
    places = {"item_1": 0, "item_2": 0}
    item = "item_1"
    for push, size in data.draw(st.lists(st.tuples(st.booleans(), st.integers(1, 700)))):
        if push:
            if item == "item_1" and data.draw(st.booleans()):
                item = "item_2"
            sound = counting(size, places[item])
            player.push(frame(sound, item, places[item]))
            pushed.append(sound)
            places[item] += size
        else:
            out.append(play(player, size))
        rendered = sum(int(np.count_nonzero(block)) for block in out)
        assert sum(heard(player).values()) == rendered
    while player.playing:
        out.append(play(player, 480))
    all_in = np.concatenate([np.zeros(0, np.int16), *pushed])
    all_out = np.concatenate([np.zeros(0, np.int16), *out])
    assert np.array_equal(all_out[all_out != 0], all_in)
    assert heard(player) == {name: place for name, place in places.items() if place}


def test_three_minutes_in_one_burst_are_played_whole() -> None:
    sound = counting(pcm.RATE * 180)
    player = Player(1, JITTER, FADE)
    for start in range(0, len(sound), 8192):
        player.push(frame(sound[start : start + 8192], start=start))
    player.push(frame(start=len(sound), last=True))
    out = [play(player, 4800) for _ in range(0, len(sound), 4800)]
    assert np.array_equal(np.concatenate(out), sound)
    [item] = player.items()
    assert item.whole
    assert item.heard == len(sound)
    assert (player.underruns, player.gap_samples, player.stale_samples) == (0, 0, 0)


def test_nothing_is_silence() -> None:
    player = Player(1, JITTER, FADE)
    assert not play(player, 480).any()
    assert player.render(0) == b""
    assert not player.playing
    assert player.items() == []
    assert player.underruns == 0


def test_items_are_told_in_playing_order() -> None:
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


# the beginning


def test_a_reply_begins_when_enough_has_gathered() -> None:
    player = Player(1, JITTER, FADE)
    player.push(frame(counting(JITTER - 1)))
    assert not play(player, 100).any()
    player.push(frame(1, start=JITTER - 1))
    assert np.array_equal(play(player, 100), counting(100))


def test_a_reply_shorter_than_that_begins_when_it_is_whole() -> None:
    player = Player(1, JITTER, FADE)
    player.push(frame(counting(50)))
    assert not play(player, 10).any()
    player.push(frame(start=50, last=True))
    assert np.array_equal(play(player, 60)[:50], counting(50))


@pytest.mark.parametrize("buffer", [1, 48, 480, 2400])
def test_what_is_there_does_not_wait_longer_than_the_gathering_should_take(buffer: int) -> None:
    player = Player(1, JITTER, FADE)
    player.push(frame(100))
    silent = 0
    while not play(player, buffer).any():
        silent += buffer
        assert silent <= JITTER
    assert silent > JITTER - buffer


# underruns


def test_an_underrun_is_counted_once_and_the_playhead_holds() -> None:
    player = playing(100, 60)
    assert np.count_nonzero(play(player, 60)) == 40
    for _ in range(5):
        assert not play(player, 500).any()
        assert heard(player) == {"item_1": 100}
    assert player.underruns == 1
    player.push(frame(counting(30, 101), start=100))
    assert np.array_equal(play(player, 20), counting(20, 101))
    assert heard(player) == {"item_1": 120}
    assert player.underruns == 1
    play(player, 20)
    assert player.underruns == 2


def test_an_underrun_gathers_anew() -> None:
    player = Player(1, JITTER, 0)
    player.push(frame(JITTER))
    play(player, JITTER + 1)
    assert player.underruns == 1
    player.push(frame(JITTER - 1, start=JITTER))
    assert not play(player, 10).any()
    player.push(frame(1, start=2 * JITTER - 1))
    assert play(player, 10).all()


def test_the_end_of_an_item_is_no_underrun() -> None:
    player = playing(100, 100, last=True)
    play(player, 100)
    assert player.underruns == 0
    assert not player.playing
    player.push(frame(10, "item_2"))
    player.push(frame(0, "item_2", start=10, last=True))
    play(player, 100)
    assert player.underruns == 0


def test_an_item_that_was_never_begun_makes_no_underrun_of_anothers_end() -> None:
    player = Player(1, 0, FADE)
    sound = counting(100)
    player.push(frame(sound, "aside", response="resp_2", out_of_band=True, last=True))
    play(player, 50)
    player.flush(2, [messages.Received("item_1", 0, 500, False)], ["resp_1"])
    assert np.array_equal(play(player, 100)[:50], sound[50:])
    assert player.underruns == 0


def test_an_underrun_fades_out_and_in_and_counts_all_the_same() -> None:
    player = playing(1000, 500, fade=FADE, sound=np.full(1000, 10_000, np.int16))
    out = play(player, 600)
    assert (out[: 500 - FADE] == 10_000).all()
    fall = out[500 - FADE : 500].astype(int)
    assert all(a > b > 0 for a, b in pairwise(fall))
    assert fall[-1] < 10_000 * 2 / FADE
    assert not out[500:].any()
    assert heard(player) == {"item_1": 1000}
    player.push(frame(np.full(500, 10_000, np.int16), start=1000))
    rise = play(player, 500).astype(int)
    assert rise[0] == 0
    assert all(a < b for a, b in pairwise(rise[:FADE]))
    assert (rise[FADE:] == 10_000).all()
    assert heard(player) == {"item_1": 1500}


def test_a_reply_begins_at_full_level() -> None:
    player = playing(100, 100, fade=FADE)
    play(player, 50)  # an underrun …
    player.flush(2)
    player.push(frame(counting(100), "item_2", generation=2, response="resp_2"))
    assert np.array_equal(play(player, 100), counting(100))  # … is not the next reply's


# silence


@given(
    st.integers(1, 4000),
    st.floats(100, 1000),
    st.integers(1, 600),
    st.sampled_from([24, FADE, 240]),
)
def test_a_cut_anywhere_in_a_sine_does_not_click(
    played: int, hz: float, buffer: int, fade: int
) -> None:
    amplitude = 20_000
    sine = (amplitude * np.sin(2 * np.pi * hz * np.arange(6000) / pcm.RATE)).astype(np.int16)
    player = playing(6000, played, fade=fade, sound=sine)
    player.flush(2)
    after = np.concatenate([play(player, buffer) for _ in range(0, 2 * fade + buffer, buffer)])
    whole = np.concatenate([sine[:played], after]).astype(int)
    steps = np.abs(np.diff(whole))
    assert steps.max() <= 2 * np.pi * hz / pcm.RATE * amplitude + amplitude / fade + 2
    # the fade is as long as it should be, and then there is silence for good
    assert not whole[played + fade :].any()
    assert np.abs(whole[played : played + fade]).sum() > 0
    assert heard(player) == {"item_1": played + fade}


def test_a_flush_is_silent_in_the_next_buffer() -> None:
    player = playing(10_000, 1000, fade=FADE)
    player.flush(2)
    fading = [player.fading]
    out = play(player, 480)
    assert out[0] == 1002
    assert out[:FADE].all()
    assert not out[FADE:].any()
    assert [*fading, player.fading] == [True, False]
    assert not player.playing
    assert not play(player, 5000).any()


def test_without_a_fade_a_flush_is_silent_at_once() -> None:
    player = playing(10_000, 1000)
    player.flush(2)
    assert not player.playing
    assert not play(player, 480).any()
    assert heard(player) == {"item_1": 1000}


def test_a_fade_longer_than_the_buffer_goes_on_in_the_next_ones() -> None:
    player = playing(10_000, 1000, fade=FADE, sound=np.full(10_000, 10_000, np.int16))
    player.flush(2)
    out = np.concatenate([play(player, 10) for _ in range(10)]).astype(int)
    assert all(a > b for a, b in pairwise(out[: FADE + 1]))
    assert not out[FADE:].any()


def test_what_is_left_of_an_item_can_be_less_than_a_fade() -> None:
    player = playing(100, 90, fade=FADE, sound=np.full(100, 10_000, np.int16))
    player.push(frame(500, "item_2"))
    assert told(player.flush(2)) == [("item_1", 100, 100, False), ("item_2", 0, 500, False)]
    out = play(player, 100).astype(int)
    assert all(a > b for a, b in pairwise(out[:11]))
    assert not out[10:].any()


def test_a_flush_while_a_reply_gathers_is_silent() -> None:
    player = Player(1, JITTER, FADE)
    player.push(frame(500))
    assert told(player.flush(2)) == [("item_1", 0, 500, False)]
    assert not player.playing
    assert not play(player, 5000).any()


def test_two_flushes_with_the_first_ones_fade_still_to_come() -> None:
    player = playing(1000, 100, fade=FADE)
    assert told(player.flush(2)) == [("item_1", 100 + FADE, 1000, False)]
    first = play(player, 10)
    player.push(frame(500, "item_2", generation=2, response="resp_2", last=True))
    play(player, 10)
    assert told(player.flush(3)) == [("item_2", 0, 500, True)]
    rest = play(player, 480)
    assert first.all()
    assert rest[: FADE - 20].all()
    assert not rest[FADE - 20 :].any()
    assert told(player.flush(4)) == []


def test_a_fade_still_to_come_is_given_though_what_follows_it_is_cut_too() -> None:
    player = playing(1000, 100, fade=FADE)
    player.push(frame(500, "item_2", response="resp_2"))
    cut = player.push(frame(10, "item_2", start=500, generation=2, response="resp_2"))
    assert told(cut) == [("item_1", 100 + FADE, 1000, False)]
    assert told(player.flush(3)) == [("item_2", 0, 510, False)]
    out = play(player, 480)
    assert out[:FADE].all()
    assert not out[FADE:].any()


# what was cut


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
            messages.Received("item_3", 0, 5000, True),  # the rest is on its way
            messages.Received("item_4", 0, 700, False),
            messages.Received("item_4", 1, 0, False),
        ],
        ["resp_1"],
    )
    # item_1 was wholly heard, and is not told of
    assert told(cut) == [
        ("item_2", 50, 200, True),
        ("item_3", 0, 5000, True),
        ("item_4", 0, 700, False),
        ("item_4", 0, 0, False),
    ]
    assert told(player.flush(3, [messages.Received("item_3", 0, 9000, True)])) == []


def test_an_item_whose_end_is_not_known_is_told_of_though_all_of_it_was_heard() -> None:
    player = playing(100, 100)
    assert told(player.flush(2, [messages.Received("item_1", 0, 100, False)])) == [
        ("item_1", 100, 100, False)
    ]
    player = playing(100, 100)
    assert told(player.flush(2, [messages.Received("item_1", 0, 100, True)])) == []


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


# nothing stale


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
    """Not even of a newer generation, as another downlink might publish it."""
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
    assert told(cut) == [("item_1", 100 + FADE, 1000, False), ("item_2", 0, 200, False)]
    assert player.generation == 2
    out = play(player, 500)
    assert np.array_equal(out[FADE : FADE + 50], counting(50))
    assert not out[FADE + 50 :].any()
    assert player.flush(2, [messages.Received("item_1", 0, 1000, True)], ["resp_1"]) is None


def test_a_reply_goes_on_under_another_downlink() -> None:
    """The generation is newer though nobody interrupted: what goes on is not cut.

    What was said meanwhile is lost, so what goes on is not counted as heard.
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
    # whether something was said while there was none, nobody knows
    assert (item.heard, item.received, item.done) == (300, 500, True)
    assert player.gap_samples == 0


def test_of_an_item_whose_beginning_nobody_knows_nothing_counts_as_heard() -> None:
    """A downlink that has not read the beginning counts from 1."""
    player = Player(1, 0, 0)
    for start in (1, 101):
        player.push(frame(counting(100, start), start=start, generation=9, last=start > 1))
    # it is played all the same
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
    assert told(player.flush(2, interrupted=["resp_1"])) == [("item_1", 1000, 1000, False)]
    player.push(frame(aside[100:200], "aside", 100, response="resp_2", out_of_band=True))
    player.push(
        frame(
            aside[200:], "aside", 200, response="resp_2", out_of_band=True, generation=2, last=True
        )
    )
    out = play(player, 500)
    # the fade is of what was cut alone: of the rest no sample is missing or quieter
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
    assert told(player.flush(2)) == [("item_1", 0, 500, False)]
    out = play(player, 1000)
    assert np.array_equal(out[:200], aside[100:])
    assert not out[200:].any()


def test_a_newer_reply_outside_the_conversation_tells_of_a_lost_flush_too() -> None:
    player = playing(1000, 100)
    cut = player.push(
        frame(counting(50), "aside", response="resp_2", generation=2, out_of_band=True)
    )
    assert told(cut) == [("item_1", 100, 1000, False)]
    assert np.array_equal(play(player, 50), counting(50))


# what the bus must not do, and may


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), min_size=1, max_size=12))
def test_what_comes_twice_is_heard_once(stretches: list[tuple[int, int]]) -> None:
    sound = counting(1000)
    player = Player(1, 0, 0)
    end = 0
    for start, samples in stretches:
        begin = min(start, end)  # any overlap, and no gap
        player.push(frame(sound[begin : begin + samples], start=begin))
        end = max(end, min(begin + samples, len(sound)))
    assert np.array_equal(play(player, end), sound[:end])
    assert not play(player, 100).any()
    assert heard(player).get("item_1", 0) == end
    assert player.gap_samples == 0


def test_what_never_came_is_counted_and_nothing_after_it_is_heard() -> None:
    player = playing(100, 50)
    player.push(frame(counting(100, 201), start=200))
    assert player.gap_samples == 100
    out = play(player, 100)
    assert np.array_equal(out, np.concatenate([counting(50, 51), counting(50, 201)]))
    # a truncation keeps a beginning
    assert heard(player) == {"item_1": 100}
    assert player.items()[0].received == 300
    player.push(frame(start=300, last=True))
    play(player, 100)
    assert not player.items()[0].whole
    assert told(player.flush(2)) == [("item_1", 100, 300, True)]


def test_an_end_beyond_what_came_is_not_heard() -> None:
    player = playing(100, 50)
    player.push(frame(start=400, last=True))
    play(player, 500)
    [item] = player.items()
    assert (item.heard, item.received, item.done, item.whole) == (100, 400, True, False)
    assert told(player.flush(2)) == [("item_1", 100, 400, True)]


def test_a_player_that_begins_in_the_midst_of_an_item_counts_nothing_and_does_not_click() -> None:
    player = Player(0, 0, FADE)
    assert player.push(frame(np.full(500, 10_000, np.int16), start=7000)) == []
    out = play(player, 200).astype(int)
    assert out[0] == 0
    assert all(a < b for a, b in pairwise(out[:FADE]))
    # what was heard of its beginning, another one has told
    assert heard(player) == {"item_1": 0}
    assert player.items()[0].received == 7500
    assert player.gap_samples == 0


def test_an_empty_item_is_whole() -> None:
    player = Player(1, 0, 0)
    player.push(frame(last=True))
    assert not player.playing
    assert [item.whole for item in player.items()] == [True]
    assert told(player.flush(2)) == []


# for ever


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
    # and a long conversation that nobody interrupts
    player = Player(0, 0, FADE)
    for n in range(3000):
        player.push(frame(5, f"item_{n}", response=f"resp_{n}", last=True))
        play(player, 5)
    assert len(player._tracks) <= MAX_REMEMBERED_ITEMS


def test_what_waits_to_be_played_is_never_forgotten() -> None:
    player = Player(1, 0, 0)
    items = 3 * MAX_REMEMBERED_ITEMS
    for n in range(items):
        player.push(frame(10, f"item_{n}", last=True))
    assert np.count_nonzero(play(player, 10 * items)) == 10 * items
    # nor is it told of wrongly
    assert told(player.flush(2)) == []


# what nobody should send


def test_what_waits_has_a_limit_and_what_is_heard_is_the_beginning() -> None:
    player = Player(1, 0, 0)
    second = frame(pcm.RATE)
    for n in range(MAX_QUEUED_SAMPLES // pcm.RATE + 5):
        player.push(msgspec.structs.replace(second, start=n * pcm.RATE))
    assert player.overflow_samples == 5 * pcm.RATE
    play(player, 10 * pcm.RATE)
    # there is room again, but not in the midst of what lost a part
    player.push(frame(pcm.RATE, start=MAX_QUEUED_SAMPLES + 5 * pcm.RATE, last=True))
    player.push(frame(pcm.RATE, "item_2", last=True))
    assert player.overflow_samples == 6 * pcm.RATE
    while player.playing:
        player.render(pcm.RATE)
    assert heard(player) == {"item_1": MAX_QUEUED_SAMPLES, "item_2": pcm.RATE}
    assert player.gap_samples == 0
    assert [item.whole for item in player.items()] == [False, True]


def test_what_waits_has_a_limit_however_short_its_stretches_are() -> None:
    player = Player(1, 0, 0)
    for n in range(MAX_QUEUED_CHUNKS + 5):
        player.push(frame(1, start=n))
    assert player.overflow_samples == 5


def test_what_waits_has_a_limit_however_many_items_it_is_of() -> None:
    player = Player(1, 0, 0)
    for n in range(MAX_ITEMS + 5):
        player.push(frame(10, f"item_{n}", last=True))
    assert player.overflow_samples == 50
    # those that wait are not forgotten, and those that were heard are
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
        for start in (0, MAX_ITEM_SAMPLES - 10, 2**63 - 1):
            player.push(frame(10, start=start, generation=generation, response=f"r{generation}"))
        player.render(20)
        for item in player.items():
            assert 0 <= item.heard <= item.received < 2**63
