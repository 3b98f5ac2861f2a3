"""What a rendered case holds, measured: the level, delay, gain and changes that the case states."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.acoustics.cases import Case, cases, judging
from harness.acoustics.rendering import Rendered, levelled, render
from harness.acoustics.responses import Sound, active_rms, decibels, fitted, level
from harness.acoustics.shoebox import Room
from harness.acoustics.voices import SENTENCE_S, Voices, sentences, shipped
from shared.audio.pcm import RATE
from tests.support.responses import decaying

pytestmark = pytest.mark.unit

QUIET = Case("a row", "a case", 0.3, far_dbfs=-22, gain_db=-10, noise_dbfs=-75, seconds=12)


@functools.cache
def made(case: Case) -> Rendered:
    """Render a case in a room by arithmetic, whose reverberation is not the case's."""
    people = [decaying(0.5, lead=90, seed=seed) for seed in (4, 5, 6)]
    room = Room((4.0, 3.0, 2.5), False, decaying(0.5, lead=60), decaying(0.5, seed=3), people)
    return render(case, room, shipped(), case.chance)


def db(sound: Sound) -> float:
    return decibels(float(np.square(sound).mean()))


def lateness(far: Sound, near: Sound) -> int:
    """Return by how many samples a sound comes later than another one."""
    size = 1 << (2 * len(far)).bit_length()
    return int(np.argmax(np.fft.irfft(np.fft.rfft(near, size) * np.fft.rfft(far, size).conj())))


@pytest.mark.parametrize("gain_db", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("delay_ms", [20, 600])
def test_the_echo_has_the_gain_the_delay_and_the_reverberation(
    gain_db: float, delay_ms: int
) -> None:
    case = replace(QUIET, far_dbfs=-40, gain_db=gain_db, delay_ms=delay_ms)
    room = made(case)
    assert 20 * np.log10(active_rms(room.far)) == pytest.approx(-40, abs=0.1)
    assert 20 * np.log10(active_rms(room.echo)) == pytest.approx(-40 + gain_db, abs=0.1)
    assert room.gain_db == pytest.approx(gain_db, abs=0.1)
    assert lateness(room.far, room.echo) == delay_ms * RATE // 1000
    assert room.reverb_s == pytest.approx(0.3, rel=0.03)
    # Before the first reply there is nothing but noise.
    begin = round((case.reply_s + delay_ms / 1000) * RATE)
    assert not room.far[: round(case.reply_s * RATE)].any()
    assert db(room.microphone[:begin]) == pytest.approx(-75, abs=1)


def test_the_person_speaks_when_and_as_loud_as_the_case_says() -> None:
    room = made(replace(QUIET, starts=(2.0, 7.0), person_db=6.0))
    # A sentence can begin softly: it is said to begin where it comes within 30 dB of its peak.
    assert [begin / RATE for begin, _ in room.spoken] == pytest.approx([2.0, 7.0], abs=0.15)
    for begin, end in room.spoken:
        assert end - begin > RATE // 2
        measured = 20 * np.log10(active_rms(room.person[begin:end]))
        assert measured == pytest.approx(-22 - 10 + 6, abs=1)
    np.testing.assert_allclose(room.microphone, room.ideal + room.echo, atol=1e-9)


def test_the_microphone_clips_and_the_ideal_does_not() -> None:
    room = made(replace(QUIET, gain_db=12))
    assert np.abs(room.microphone).max() == 1.0
    assert (np.abs(room.microphone) == 1.0).sum() > 20
    assert np.abs(room.ideal).max() < 0.1


@pytest.mark.parametrize("ppm", [-300.0, 500.0])
def test_the_microphones_clock_drifts(ppm: float) -> None:
    case = replace(QUIET, drift_ppm=ppm, seconds=16, gain_db=0, delay_ms=60)
    room = made(case)
    piece = 2 * RATE
    late = [
        lateness(room.far[at : at + piece], room.microphone[at : at + piece])
        for at in (2 * RATE, 13 * RATE)
    ]
    # A clock that is slower by 500 ppm counts 500 samples of a million less.
    assert late[0] - late[1] == pytest.approx(11 * RATE * ppm * 1e-6, abs=6)
    assert len(room.microphone) in (len(room.far), round(len(room.far) * (1 - ppm * 1e-6)))


def test_the_volume_steps_and_the_gain_control_is_slow() -> None:
    still = made(QUIET).microphone
    louder = made(replace(QUIET, volume=((6.0, 6.0),))).microphone
    before, after = slice(2 * RATE, 6 * RATE), slice(7 * RATE, 11 * RATE)
    assert db(louder[before]) == pytest.approx(db(still[before]), abs=0.1)
    assert db(louder[after]) == pytest.approx(db(still[after]) + 6, abs=0.3)
    slow = made(replace(QUIET, agc_db=6)).microphone
    up, down = slice(round(3.9 * RATE), round(4.1 * RATE)), slice(round(11.7 * RATE), None)
    assert db(slow[up]) == pytest.approx(db(still[up]) + 6, abs=0.3)
    assert db(slow[down]) == pytest.approx(db(still[down]) - 6, abs=0.3)


def test_a_leveller_makes_soft_words_louder() -> None:
    plain, even = made(QUIET), made(replace(QUIET, leveller=True))
    np.testing.assert_array_equal(plain.far, even.far)

    assert not np.array_equal(plain.echo, even.echo)
    noise = np.random.default_rng(1).standard_normal(12 * RATE) * 0.1
    noise[6 * RATE :] *= level(-12)
    before, after = (levelled(noise)[at * RATE : (at + 1) * RATE] for at in (4, 10))
    assert db(before) - db(after) == pytest.approx(6, abs=1)


def test_each_sentence_begins_half_a_second_after_a_pause_of_the_far_end() -> None:
    starts = (4.0, 8.0)
    room = made(replace(QUIET, pauses=True, starts=starts))
    for start in starts:
        end = round((start - 0.5) * RATE)
        assert not room.far[end - round(0.15 * RATE) : end].any()
        assert room.far[end : end + RATE // 4].any()


def test_each_sentence_cuts_a_reply_and_the_answer_comes_after_a_silence() -> None:
    room = made(replace(QUIET, answers=True, starts=(4.0,)))
    cut, answer = round(4.7 * RATE), round(8.7 * RATE)
    assert room.far[cut - RATE // 4 : cut].any()
    assert not room.far[cut:answer].any()
    assert room.far[answer : answer + RATE // 4].any()


def test_a_moving_person_changes_the_echo_but_not_its_level() -> None:
    still, moving = made(QUIET), made(replace(QUIET, moves=True))
    changed = moving.echo - still.echo
    assert -20 < db(changed) - db(still.echo) < -2
    assert db(moving.echo) == pytest.approx(db(still.echo), abs=1)


def test_the_delay_jumps_half_way() -> None:
    room = made(replace(QUIET, jump_ms=-40, delay_ms=60, gain_db=0))
    first, second = slice(RATE, 6 * RATE), slice(6 * RATE, 11 * RATE)
    assert lateness(room.far[first], room.echo[first]) == 60 * RATE // 1000
    assert lateness(room.far[second], room.echo[second]) == 20 * RATE // 1000


def test_hum_and_a_small_speaker() -> None:
    hum = made(replace(QUIET, hum_dbfs=-50)).ideal
    assert db(hum) == pytest.approx(-50, abs=0.3)
    spectrum = np.abs(np.fft.rfft(made(replace(QUIET, small=True)).echo))
    plain = np.abs(np.fft.rfft(made(QUIET).echo))
    hz = np.fft.rfftfreq(len(made(QUIET).echo), 1 / RATE)
    low, high = (hz > 90) & (hz < 130), (hz > 1000) & (hz < 2000)

    def lost(band: NDArray[np.bool_]) -> float:
        return float(10 * np.log10(np.square(plain[band]).sum() / np.square(spectrum[band]).sum()))

    assert lost(low) - lost(high) > 12


def test_the_same_seed_makes_the_same_sound_and_another_one_does_not() -> None:
    case = replace(QUIET, starts=(3.0,))
    one, same, other = (made(replace(case, seed=seed)) for seed in (2, 2, 4))
    np.testing.assert_array_equal(one.microphone, same.microphone)
    assert not np.array_equal(one.microphone, other.microphone)


def test_no_two_cases_have_one_name_and_each_row_is_in_the_quick_run() -> None:
    whole, quick = cases(1), cases(1, quick=True)
    assert len({(case.row, case.name) for case in whole}) == len(whole)
    assert {case.row for case in quick} == {case.row for case in whole}
    assert {(c.row, c.name) for c in quick} <= {(c.row, c.name) for c in whole}
    assert sum(c.seconds for c in quick) < sum(c.seconds for c in whole) / 3
    assert all(start + 4 <= case.seconds for case in whole for start in case.starts)
    assert [judging(seed) for seed in (0, 1, 2, 3)] == [False, True, False, True]


def test_a_recording_is_cut_into_sentences_at_its_pauses() -> None:
    chance = np.random.default_rng(1)
    low, high = SENTENCE_S

    def voice(seconds: float) -> Sound:
        return chance.standard_normal(round(seconds * RATE)) * 0.1

    silence = np.zeros(RATE // 2)
    # Two short words make one sentence; a long speech is cut.
    recording = np.concatenate(
        (silence, voice(0.6), silence, voice(0.7), silence, voice(2), silence, voice(9), silence)
    )
    found = [len(one) / RATE for one in sentences(recording)]
    assert found == pytest.approx([1.8, 2.0, high], abs=0.05)
    assert all(active_rms(one) == pytest.approx(1, rel=0.01) for one in sentences(recording))
    assert sentences(np.zeros(RATE)) == []
    assert low <= min(found)


def test_the_shipped_voices_speak_without_end_in_many_voices() -> None:
    voices: Voices = shipped()
    chance = np.random.default_rng(1)
    assert active_rms(voices.reply(chance, 40 * RATE)) == pytest.approx(1, rel=0.05)
    assert len({len(voices.sentence(chance)) for _ in range(20)}) == 20


def test_a_fitted_response_keeps_its_reflections_in_place() -> None:
    response = decaying(0.5)
    response[900] = 0.9
    assert int(np.argmax(np.abs(fitted(response, 0.3)[1:]))) + 1 == 900
