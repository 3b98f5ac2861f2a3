"""The reply that is lowered or held: its level, its playhead, and when it comes back."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.playback.duck import CAUSE_NS, FALL, RISE, Duck
from services.playback.player import Player
from shared import messages
from shared.audio import pcm
from shared.config import Interruption

pytestmark = pytest.mark.unit

MS = 1_000_000
LOUD = 20_000
LOW = round(LOUD * 10 ** (-15 / 20))


def playing(samples: int) -> Player:
    """Return a player that has samples of one value to play, none of them silent."""
    player = Player(1, 0, 72)
    tone = np.full(samples, LOUD, "<i2").tobytes()
    player.push(
        messages.ReplyAudio(
            generation=1,
            session=1,
            response_id="resp",
            item_id="item",
            content_index=0,
            start=0,
            last=True,
            payload=tone,
        )
    )
    return player


def given_by(duck: Duck, player: Player, samples: int, now_ns: int = 5) -> list[int]:
    """Return what the device is given, as playback does it."""
    if duck.wanted or duck.level < 1.0:
        return [int(s) for s in pcm.to_array(duck.render(player, samples, now_ns))]
    return [int(s) for s in pcm.to_array(player.render(samples))]


def heard(player: Player) -> int:
    return player.items()[0].heard


def speech(at_ns: int, *, speaking: bool = True) -> messages.Speech:
    return messages.Speech(speaking=speaking, at_ns=at_ns)


def test_it_is_lowered_within_the_next_buffers_and_comes_back_slowly() -> None:
    duck, player = Duck(Interruption()), playing(24_000)
    assert given_by(duck, player, 64) == [LOUD] * 64
    duck.wanted = True
    down = [s for _ in range(10) for s in given_by(duck, player, 64)]
    assert down[0] < LOUD
    assert all(a >= b for a, b in pairwise(down))
    assert down[FALL:] == pytest.approx([LOW] * (640 - FALL), abs=1)
    duck.wanted = False
    up = [s for _ in range(60) for s in given_by(duck, player, 64)]
    assert all(a <= b for a, b in pairwise(up))
    assert LOW < up[RISE // 2] < LOUD
    assert up[RISE + 1 :] == [LOUD] * (60 * 64 - RISE - 1)
    assert duck.level == 1.0
    # every sample counts as heard, lowered or not
    assert heard(player) == 64 + 640 + 60 * 64


@pytest.mark.parametrize("block", [1, 17, 64, 480, 2000])
def test_a_pause_takes_nothing_and_loses_nothing(block: int) -> None:
    duck, player = Duck(Interruption(duck="pause")), playing(24_000)
    given_by(duck, player, 480)
    duck.wanted = True
    down = [s for _ in range(1 + 1000 // block) for s in given_by(duck, player, block)]
    at = heard(player)
    # the playhead stands where the last audible sample was
    assert at == 480 + FALL
    assert down[FALL:] == [0] * (len(down) - FALL)
    assert all(s > 0 for s in down[: FALL - 1])
    held = [s for _ in range(5) for s in given_by(duck, player, block)]
    assert held == [0] * len(held)
    assert heard(player) == at
    assert player.playing
    duck.wanted = False
    up = given_by(duck, player, RISE + 10)
    assert up[0] > 0
    assert up[RISE:] == [LOUD] * 10
    assert heard(player) == at + RISE + 10
    assert (player.underruns, player.gap_samples, player.stale_samples) == (0, 0, 0)


@given(
    blocks=st.lists(
        st.tuples(st.booleans(), st.sampled_from([1, 63, 64, 120, 121, 480, 3000])), max_size=40
    ),
    how=st.sampled_from(["lower", "pause"]),
)
def test_ducking_returns_every_sample_once(blocks: list[tuple[bool, int]], how: str) -> None:
    duck = Duck(Interruption(duck=how))  # type: ignore[arg-type]
    player = Player(1, 0, 72)
    numbers = np.arange(1, 30_001, dtype="<i2")
    player.push(
        messages.ReplyAudio(
            generation=1, session=1, response_id="r", item_id="i", content_index=0, start=0,
            payload=numbers.tobytes(),
        )
    )  # fmt: skip
    given_out: list[int] = []
    taken = 0
    for wanted, samples in blocks:
        duck.wanted = wanted
        out = given_by(duck, player, samples)
        new = heard(player) - taken
        expected = numbers[taken : taken + new]
        # the device was given exactly the samples that count, in order and no louder
        assert all(0 <= s <= e for s, e in zip(out[:new], expected, strict=True))
        assert out[new:] == [0] * (samples - new)
        assert new == samples or how == "pause" or taken + new == len(numbers)
        taken += new
        given_out += out[:new]
    duck.wanted = False
    given_by(duck, player, RISE + 1)
    assert duck.level == 1.0
    rest = given_by(duck, player, 100)
    at = taken + RISE + 1
    assert rest[: max(0, len(numbers) - at)] == [int(s) for s in numbers[at : at + 100]]


def test_a_flush_in_a_pause_counts_no_more_than_it_gives() -> None:
    duck, player = Duck(Interruption(duck="pause")), playing(24_000)
    given_by(duck, player, 480)
    duck.wanted = True
    given_by(duck, player, 480)
    cut = player.flush(2)
    assert cut is not None
    duck.wanted = False
    after = given_by(duck, player, 480)
    # the device is given the fade as well, so it counts, though it is nearly silent
    assert cut[0].heard == 480 + FALL + 72
    assert sum(s != 0 for s in after) <= 72
    assert max(after) < LOUD / 20
    assert not player.playing


def test_the_time_of_the_first_lowered_sample_is_kept() -> None:
    duck, player = Duck(Interruption()), playing(2400)
    assert duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS) == 1150 * MS
    assert duck.wanted
    given_by(duck, player, 64, 160 * MS)
    given_by(duck, player, 64, 163 * MS)
    assert duck.ducked_ns == 160 * MS
    # a later speech has its own first lowered sample
    duck.vad_reported(speech(3000 * MS), playing=True, now_ns=3050 * MS)
    assert duck.ducked_ns == 0


def test_duck_lowers_nothing_while_nothing_plays() -> None:
    duck, player = Duck(Interruption()), Player(1, 0, 72)
    duck.vad_reported(speech(100 * MS), playing=False, now_ns=150 * MS)
    given_by(duck, player, 64, 160 * MS)
    assert duck.ducked_ns == 0
    # the answer to this speech does not begin lowered
    duck.vad_reported(speech(400 * MS, speaking=False), playing=False, now_ns=700 * MS)
    assert not duck.wanted


def test_it_stays_lowered_when_the_speech_ends_until_it_is_decided() -> None:
    duck = Duck(Interruption())
    duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS)
    duck.vad_reported(speech(300 * MS, speaking=False), playing=True, now_ns=600 * MS)
    assert duck.wanted
    duck.bring_back(100 * MS)
    assert not duck.wanted


def test_the_decision_on_an_earlier_speech_does_not_end_the_duck() -> None:
    duck = Duck(Interruption())
    duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS)
    duck.vad_reported(speech(300 * MS, speaking=False), playing=True, now_ns=600 * MS)
    duck.vad_reported(speech(700 * MS), playing=True, now_ns=750 * MS)
    duck.bring_back(100 * MS)
    assert duck.wanted


def test_an_onset_is_heeded_once_and_not_when_it_is_old() -> None:
    duck = Duck(Interruption(duck_limit_ms=1000))
    assert duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS)
    duck.bring_back(100 * MS)
    # vad repeats its report every second
    assert not duck.vad_reported(speech(100 * MS), playing=True, now_ns=900 * MS)
    assert not duck.wanted
    late = Duck(Interruption(duck_limit_ms=1000))
    assert not late.vad_reported(speech(100 * MS), playing=True, now_ns=1200 * MS)
    assert not late.wanted


@pytest.mark.parametrize(
    "rules",
    [Interruption(duck="off"), Interruption(decide="never"), Interruption(decide="push_to_talk")],
)
def test_a_voice_that_does_not_interrupt_lowers_nothing(rules: Interruption) -> None:
    duck = Duck(rules)
    assert not duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS)
    assert not duck.wanted


@pytest.mark.parametrize(
    ("cause", "ended_ms", "at_ms", "known"),
    [
        ("speech_started", 0, 400, True),
        ("judged", 0, 9000, True),
        ("judged", 500, 700, True),
        ("speech_started", 500, 500 + CAUSE_NS // MS, False),
        ("control", 0, 400, False),
        ("lost flush", 0, 400, False),
    ],
)
def test_the_onset_is_reported_where_the_person_is_the_cause(
    cause: str, ended_ms: int, at_ms: int, known: bool
) -> None:
    duck = Duck(Interruption())
    assert duck.onset_ns(cause, at_ms * MS) == 0
    duck.vad_reported(speech(100 * MS), playing=True, now_ns=150 * MS)
    if ended_ms:
        duck.vad_reported(speech(ended_ms * MS, speaking=False), playing=True, now_ns=ended_ms * MS)
    assert duck.onset_ns(cause, at_ms * MS) == (100 * MS if known else 0)


def test_the_levels_of_a_ramp_do_not_depend_on_the_buffers() -> None:
    whole, parts = Duck(Interruption()), Duck(Interruption())
    whole.wanted = parts.wanted = True
    one = given_by(whole, playing(4800), 2000)
    player = playing(4800)
    ends = list(accumulate([1, 5, 64, 130, 1800]))
    many = [s for n in [1, 5, 64, 130, 1800] for s in given_by(parts, player, n)]
    assert ends[-1] == 2000
    assert many == pytest.approx(one, abs=1)


def test_asked_for_nothing_it_gives_nothing() -> None:
    duck = Duck(Interruption())
    duck.wanted = True
    assert given_by(duck, playing(480), 0) == []
