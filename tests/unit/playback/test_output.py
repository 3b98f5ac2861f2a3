"""What the device is given: every sample once, silence without a click, and limits."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.playback.output import MAX_QUEUED_CHUNKS, MAX_QUEUED_SAMPLES
from services.playback.player import Player
from shared import messages
from shared.audio import pcm
from tests.support.playing import (
    FADE,
    JITTER,
    Samples,
    counting,
    frame,
    heard,
    play,
    playing,
    reported,
)

pytestmark = pytest.mark.unit

chunks = st.lists(st.integers(1, 700), min_size=1, max_size=30)
buffers = st.lists(st.integers(1, 900), min_size=1, max_size=10)


# audio that comes in time, and bursts


@given(chunks, buffers, st.sampled_from([0, 1, 240, JITTER]), st.sampled_from([0, 1, FADE]))
def test_audio_that_comes_in_time_is_played_sample_by_sample(
    cuts: list[int], sizes: list[int], jitter: int, fade: int
) -> None:
    """With any chunks and any device buffers, every sample is played once, without a fade."""
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
def test_audio_that_comes_at_any_time_is_played_sample_by_sample(data: st.DataObject) -> None:
    """In whatever order chunks come and buffers are asked for, nothing is lost or played twice."""
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
def test_audio_that_has_come_waits_no_longer_than_the_jitter_buffer_lasts(buffer: int) -> None:
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
    play(player, 50)  # an underrun: audio that continues this item would fade in
    player.flush(2)
    player.push(frame(counting(100), "item_2", generation=2, response="resp_2"))
    assert np.array_equal(play(player, 100), counting(100))


# the silence after a flush


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
    # the fade has its full length, and only silence follows
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


def test_the_rest_of_an_item_can_be_shorter_than_a_fade() -> None:
    player = playing(100, 90, fade=FADE, sound=np.full(100, 10_000, np.int16))
    player.push(frame(500, "item_2"))
    assert reported(player.flush(2)) == [("item_1", 100, 100, False), ("item_2", 0, 500, False)]
    out = play(player, 100).astype(int)
    assert all(a > b for a, b in pairwise(out[:11]))
    assert not out[10:].any()


def test_a_flush_while_a_reply_gathers_is_silent() -> None:
    player = Player(1, JITTER, FADE)
    player.push(frame(500))
    assert reported(player.flush(2)) == [("item_1", 0, 500, False)]
    assert not player.playing
    assert not play(player, 5000).any()


def test_two_flushes_with_the_first_ones_fade_still_to_come() -> None:
    player = playing(1000, 100, fade=FADE)
    assert reported(player.flush(2)) == [("item_1", 100 + FADE, 1000, False)]
    first = play(player, 10)
    player.push(frame(500, "item_2", generation=2, response="resp_2", last=True))
    play(player, 10)
    assert reported(player.flush(3)) == [("item_2", 0, 500, True)]
    rest = play(player, 480)
    assert first.all()
    assert rest[: FADE - 20].all()
    assert not rest[FADE - 20 :].any()
    assert reported(player.flush(4)) == []


def test_a_fade_still_to_come_is_given_though_what_follows_it_is_cut_too() -> None:
    player = playing(1000, 100, fade=FADE)
    player.push(frame(500, "item_2", response="resp_2"))
    cut = player.push(frame(10, "item_2", start=500, generation=2, response="resp_2"))
    assert reported(cut) == [("item_1", 100 + FADE, 1000, False)]
    assert reported(player.flush(3)) == [("item_2", 0, 510, False)]
    out = play(player, 480)
    assert out[:FADE].all()
    assert not out[FADE:].any()


# limits


def test_the_queue_has_a_limit_of_samples_and_keeps_the_beginning() -> None:
    player = Player(1, 0, 0)
    second = frame(pcm.RATE)
    for n in range(MAX_QUEUED_SAMPLES // pcm.RATE + 5):
        player.push(msgspec.structs.replace(second, start=n * pcm.RATE))
    assert player.overflow_samples == 5 * pcm.RATE
    play(player, 10 * pcm.RATE)
    # there is room again, but not for the item that has lost a part
    player.push(frame(pcm.RATE, start=MAX_QUEUED_SAMPLES + 5 * pcm.RATE, last=True))
    player.push(frame(pcm.RATE, "item_2", last=True))
    assert player.overflow_samples == 6 * pcm.RATE
    while player.playing:
        player.render(pcm.RATE)
    assert heard(player) == {"item_1": MAX_QUEUED_SAMPLES, "item_2": pcm.RATE}
    assert player.gap_samples == 0
    assert [item.whole for item in player.items()] == [False, True]


def test_the_queue_has_a_limit_of_chunks() -> None:
    player = Player(1, 0, 0)
    for n in range(MAX_QUEUED_CHUNKS + 5):
        player.push(frame(1, start=n))
    assert player.overflow_samples == 5
