"""The benchmarks' measurements, applied to made-up recordings with known results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness import room, rooms
from harness.accounts import SpeakerSound, Tones
from harness.judging import Conversation, Item
from harness.listening import Interruption, Listener, match
from harness.noises import noises
from harness.waves import Samples
from services.emulator.tone import RATE, Tone
from shared import config

TONE_S = 4.0
#: When a recording begins, on the monotonic clock, s.
BEGIN_S = 1000.0
#: The silence before the reply, samples.
LEAD = RATE

LISTENER = Listener(TONE_S)


def tone(begin: int, end: int) -> Samples:
    return np.frombuffer(Tone(round(TONE_S * RATE)).read(begin, end), "<i2")


def silence(ms: int) -> Samples:
    return np.zeros(ms * RATE // 1000, np.int16)


def heard(event_ms: float, *pieces: Samples) -> Interruption:
    """Return what the listener finds for an event ``event_ms`` after the reply's beginning."""
    recording = np.concatenate([silence(1000), *pieces])
    found = Interruption(0.0, round((BEGIN_S + 1 + event_ms / 1000) * 1e9))
    LISTENER.listen(found, recording, BEGIN_S)
    return found


@pytest.mark.parametrize("cut", [9600, 24_001, 31_337, 70_000])
def test_a_cut_is_found_to_the_sample(cut: int) -> None:
    found = heard(cut / 24 - 7, tone(0, cut), silence(500))
    assert found.silence_ms == pytest.approx(7, abs=0.1)
    assert found.heard_ms == pytest.approx(cut / 24, abs=0.1)
    assert found.stale_ms == 0


def test_a_fade_is_heard_to_its_end() -> None:
    faded = tone(0, 48_000).copy()
    faded[-72:] = faded[-72:] * np.linspace(1, 0, 72, endpoint=False)
    found = heard(1990, faded, silence(500))
    assert found.silence_ms == pytest.approx(10, abs=0.5)
    assert found.heard_ms == pytest.approx(2000, abs=0.5)


def test_the_position_is_right_after_a_stall() -> None:
    found = heard(2500, tone(0, 12_000), silence(1000), tone(12_000, 48_000), silence(500))
    assert found.silence_ms == pytest.approx(500, abs=0.1)
    assert found.heard_ms == pytest.approx(2000, abs=0.1)


def test_a_busy_machines_gap_is_no_silence() -> None:
    found = heard(1000, tone(0, 24_100), silence(15), tone(24_100, 36_000), silence(500))
    assert found.silence_ms == pytest.approx(515, abs=0.1)
    assert found.heard_ms == pytest.approx(1500, abs=0.1)


def test_audio_after_the_silence_is_stale() -> None:
    found = heard(1000, tone(0, 24_240), silence(300), tone(48_000, 52_800), silence(500))
    assert found.silence_ms == pytest.approx(10, abs=0.1)
    assert found.heard_ms == pytest.approx(1010, abs=0.1)
    assert found.stale_ms == pytest.approx(200, abs=0.1)


def test_a_silent_speaker_does_not_fall_silent() -> None:
    found = heard(1500, tone(0, 24_000), silence(1000), tone(24_000, 48_000))
    assert found.silence_ms is None
    assert found.error_ms is None


def test_a_truncation_belongs_to_the_last_interruption_before_it() -> None:
    first, second, third = (Interruption(0.0, seconds * 10**9) for seconds in (1, 2, 3))
    first.heard_ms = 500.0
    journal = [
        {"t_s": 1.01, "kind": "truncate", "audio_end_ms": 510},
        {"t_s": 1.5, "kind": "truncate", "audio_end_ms": 900},
        {"t_s": 1.9, "kind": "interruption", "audio_end_ms": 900},
        {"t_s": 2.0, "kind": "delete"},
        {"t_s": 2.9, "kind": "interruption", "audio_end_ms": 0},
    ]
    match([first, second, third], journal, in_order=False)
    assert (first.truncates, first.believed_ms) == ([510, 900], 900)
    assert (first.error_ms, first.belief_ms) == (10, 400)
    assert (second.truncates, second.believed_ms) == ([0], 0)
    assert (third.truncates, third.believed_ms) == ([], None)


def test_truncations_after_the_last_interruption_belong_to_them_in_order() -> None:
    found = [Interruption(0.0, seconds * 10**9) for seconds in (1, 2)]
    journal = [{"t_s": 9.0 + n, "kind": "truncate", "audio_end_ms": n} for n in range(2)]
    match(found, journal, in_order=True)
    assert [each.truncates for each in found] == [[0], [1]]


# The results of simulated rooms, compared with the scenes.

SAID = (10 * RATE, 12 * RATE)


def judged(onsets: list[int], turns: list[int], *, removed: float = 100.0) -> room.Outcome:
    """Return the results of a scene of 20 s in which the person speaks once."""
    scene = rooms.Scene("a room", 0.2, -6, 40, seconds=20)
    chance = np.random.default_rng(1)
    microphone = chance.standard_normal(20 * RATE) * 0.1
    clean = np.rint(microphone * 32768 / removed).astype(np.int16)
    # The removed echo is not measured while the person speaks, nor in the first two seconds.
    clean[SAID[0] : SAID[1]] = 32767
    clean[: 2 * RATE] = 32767
    silent = np.zeros(20 * RATE)
    rendered = rooms.Rendered(scene, silent, silent, microphone, [SAID])
    known = [(at, 10**9 + at * 1000 // RATE * 1_000_000) for at in onsets]
    return room.judged(rendered, clean, known, turns, 2.0)


def test_a_person_who_is_heard_while_speaking_is_found() -> None:
    found = judged([SAID[0] + RATE // 10], [SAID[0] + RATE // 5])
    assert (found.found, found.barge_ins) == (1, 1)
    assert (found.self_interruptions, found.false_ducks) == (0, 0)
    # 100 ms to the onset, 10 ms of the speaker's delay and 1 ms of the bus.
    assert found.ducked == [pytest.approx(100 + 10 + 1, abs=1)]
    assert found.removed_db == pytest.approx(40, abs=0.5)
    assert found.cpu == pytest.approx(10)


@pytest.mark.parametrize("at", [0, 5 * RATE, SAID[0] - 1, SAID[1] + RATE // 2 + 1, 19 * RATE])
def test_a_detection_while_nobody_speaks_is_a_self_interruption(at: int) -> None:
    found = judged([at], [at])
    assert (found.found, found.self_interruptions, found.false_ducks) == (0, 1, 1)
    assert found.ducked == []


def test_the_first_onset_ducks_and_each_within_the_speech_is_the_persons() -> None:
    late, later = SAID[0] + RATE // 5, SAID[1] + RATE // 2
    found = judged([late, later], [late, later])
    assert (found.found, found.self_interruptions, found.false_ducks) == (1, 0, 0)
    assert found.ducked == [pytest.approx(211, abs=1)]


def test_the_summary_is_of_all_rooms_and_of_the_linear_ones_alone() -> None:
    scenes = [
        rooms.Scene("one", 0.2, -6, 40, seconds=90),
        rooms.Scene("two", 0.2, -6, 40, seconds=30),
        rooms.Scene("bent", 0.2, -6, 40, seconds=30, drive=1.0),
        rooms.Scene("jumps", 0.2, -6, 40, seconds=30, jump_ms=50),
    ]
    outcomes = [
        room.Outcome(s.name, -6, db, own, ducks, 4, found, ms, 5.0)
        for s, db, own, ducks, found, ms in zip(
            scenes, (30, 28, 10, 12), (1, 0, 2, 0), (0, 0, 0, 3), (4, 3, 4, 4),
            ([90.0] * 4, [100.0] * 3, [110.0] * 4, [300.0]), strict=True,
        )
    ]  # fmt: skip
    figures = room.summary(outcomes, scenes)
    assert figures["minutes"] == 3
    assert (figures["self_interruptions"], figures["false_ducks"]) == (3, 3)
    assert (figures["barge_ins"], figures["found"], figures["ducked"]) == (16, 15, 12)
    assert figures["least_removed_linear_db"] == 28
    assert figures["voice_to_duck_median_ms"] == 100
    assert figures["voice_to_duck_p95_ms"] == 300
    assert "3/4" in room.table(outcomes).splitlines()[3]
    silent = room.summary([room.Outcome("one", -6, 1, 0, 0, 4, 0, [], 5.0)], scenes[:1])
    assert np.isnan(silent["voice_to_duck_p95_ms"])


def test_there_are_twenty_noises_and_none_is_long() -> None:
    made = noises()
    assert len({noise.name for noise in made}) == len(made) == 20
    assert all(0.05 < len(noise.sound) / RATE < 0.5 for noise in made)
    # The levels are relative to a person's speech, dB.
    levels = {n.name: 10 * np.log10(np.square(n.sound).mean()) for n in made}
    assert levels["cough"] == pytest.approx(5)
    assert levels["mm-hm"] == pytest.approx(-2)
    for one, same, other in zip(made, noises(), noises(1), strict=True):
        np.testing.assert_array_equal(one.sound, same.sound)
        assert not np.array_equal(one.sound, other.sound)


def test_the_clients_decisions_are_compared_with_the_speech_and_the_noises() -> None:
    silent = np.zeros(20 * RATE)
    knock = (5 * RATE, 5 * RATE + 2400)
    scene = rooms.Scene("a room", 0.2, -6, 40, seconds=20)
    rendered = rooms.Rendered(scene, silent, silent, silent, [SAID], [knock])
    client = Conversation(config.Config())
    client.interruptions = [knock[1] + RATE, SAID[0] + RATE // 2, SAID[1] + RATE]
    client.ducks = [knock[0] + 480, SAID[0] + 480]
    client.items = {
        "a knock that stays": Item(knock[0], knock[1]),
        "one that does not": Item(knock[0], knock[1], deleted=True),
        "a sentence": Item(SAID[0] - 7200, SAID[1] + 12000),
    }
    found = room.client_judged(rendered, client)
    assert found == room.Client(found=1, for_nothing=2, noises=1, noticed=1, left=1)
    outcome = replace(judged([], []), client=found)
    figures = room.client_summary([outcome, outcome])
    assert (figures["client_barge_ins"], figures["client_found"]) == (2, 2)
    assert (figures["noises"], figures["for_nothing"], figures["left"]) == (2, 4, 2)
    assert "1/1" in room.client_table([outcome])


TONES = Tones(TONE_S)


def test_replies_are_told_apart_and_how_far_each_was_played() -> None:
    # Neither a busy machine's gap nor a silence within a reply is a hole.
    first = (tone(0, 24_000), silence(5), tone(24_000, 36_000), silence(300), tone(36_000, 48_000))
    pieces = (silence(500), *first, silence(400), tone(0, 7_200), silence(100))
    one, two = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert one.begun_s == pytest.approx(BEGIN_S + 0.5, abs=0.002)
    assert (one.whole_ms, one.last_ms) == pytest.approx((2000, 2000), abs=1)
    assert one.ended_s == pytest.approx(BEGIN_S + 0.5 + 2.305, abs=0.002)
    assert (two.whole_ms, two.last_ms) == pytest.approx((300, 300), abs=1)
    assert [one.hole, two.hole] == [False, False]


def test_audio_after_a_hole_is_found_and_does_not_count_as_whole() -> None:
    pieces = (silence(100), tone(0, 12_000), tone(36_000, 48_000), silence(100))
    [found] = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert found.hole
    # The tolerance is the distance of the chunks that are found.
    assert found.whole_ms == pytest.approx(500, abs=65)
    assert found.whole_ms <= 501
    assert found.last_ms == pytest.approx(2000, abs=1)


def test_a_reply_that_goes_on_in_another_recording_is_one() -> None:
    pieces = [np.concatenate((silence(50), tone(a, b))) for a, b in ((0, 24_000), (24_240, 31_200))]
    recordings = [
        SpeakerSound(BEGIN_S + at, piece) for at, piece in zip((0, 5), pieces, strict=True)
    ]
    [found] = TONES.places(recordings)
    # The 10 ms that an unplugged device loses are not a hole.
    assert not found.hole
    assert found.whole_ms == pytest.approx(1300, abs=1)


def test_a_reply_that_was_cut_as_soon_as_it_began_is_not_the_one_after_it() -> None:
    pieces = (silence(100), tone(0, 870), silence(800), tone(0, 48_000), silence(100))
    one, two = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert one.ended_s == pytest.approx(BEGIN_S + 0.136, abs=0.003)
    assert two.whole_ms == pytest.approx(2000, abs=1)


def test_audio_between_an_underrun_and_a_cut_counts_as_played() -> None:
    # An underrun has a fade before and after it, and a cut has a fade before it.
    before, after = tone(0, 24_000).copy(), tone(24_000, 24_768).copy()
    for fading, ramp in ((before[-48:], 0), (after[:48], 1), (after[-48:], 0)):
        fading[:] = fading * np.linspace(1 - ramp, ramp, 48)
    pieces = (silence(100), before, silence(10), after, silence(300))
    [found] = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert (found.whole_ms, found.last_ms) == pytest.approx((1032, 1032), abs=1)


def test_a_reply_that_falters_as_soon_as_it_began_is_no_part_of_the_one_before() -> None:
    faltering = (tone(0, 522), silence(30), tone(522, 24_000))
    pieces = (silence(100), tone(0, 34_368), silence(700), *faltering, silence(100))
    one, two = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert (one.whole_ms, one.last_ms) == pytest.approx((1432, 1432), abs=1)
    assert (two.whole_ms, two.last_ms) == pytest.approx((1000, 1000), abs=1)


@pytest.mark.parametrize(("before_ms", "after_ms"), [(1500, 100), (300, 0)])
def test_a_sound_too_short_to_be_told_is_no_part_of_what_it_cannot_be_of(
    before_ms: int, after_ms: int
) -> None:
    pieces = (tone(0, 24_000), silence(before_ms), tone(0, 280), silence(after_ms))
    [found] = TONES.places([SpeakerSound(BEGIN_S, np.concatenate(pieces))])
    assert found.whole_ms == pytest.approx(1000, abs=1)
    assert found.ended_s == pytest.approx(BEGIN_S + 1, abs=0.003)
