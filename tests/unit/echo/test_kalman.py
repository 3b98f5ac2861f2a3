"""The linear filter: how much of the echo it removes, and how it follows changes of the room."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from harness import rooms
from harness.acoustics import responses
from services.echo.kalman import MAX_DELAY, PARTITIONS, KalmanFilter
from services.echo.spectra import Samples
from shared.audio.pcm import FRAME, RATE

SECONDS = 6
FAR = rooms.assistant(SECONDS * RATE)


def echo(reverb_s: float, delay_ms: float, gain: float = 0.5) -> rooms.Sound:
    chance = np.random.default_rng(3)
    heard = responses.convolved(FAR, rooms.response(chance, reverb_s, delay_ms))
    return gain * heard + 1e-4 * chance.standard_normal(len(heard))


def run(
    found: KalmanFilter, near: rooms.Sound, begin_s: float = 0.0, end_s: float = SECONDS
) -> rooms.Sound:
    """Return the residual of ``near`` from ``begin_s`` to ``end_s``."""
    left = [
        found.process(
            near[at : at + FRAME].astype(np.float32), FAR[at : at + FRAME].astype(np.float32)
        )
        for at in range(round(begin_s * RATE), round(end_s * RATE), FRAME)
    ]
    return np.concatenate(left).astype(np.float64)


def removed_db(near: rooms.Sound, left: rooms.Sound) -> float:
    return responses.decibels(np.square(near).mean()) - responses.decibels(np.square(left).mean())


#: Samples to ignore after the sound jumps: for 400 ms the microphone still has the earlier echo.
JUMP = 2 * RATE // 5


def tail(seconds: float) -> slice:
    return slice(-round(seconds * RATE), None)


@pytest.mark.parametrize(("reverb_s", "delay_ms"), [(0.1, 0), (0.2, 60), (0.2, 150)])
def test_it_learns_the_room_within_seconds(reverb_s: float, delay_ms: float) -> None:
    near = echo(reverb_s, delay_ms)
    left = run(KalmanFilter(FRAME), near)
    assert removed_db(near[2 * RATE :], left[2 * RATE :]) > 16
    assert removed_db(near[tail(2)], left[tail(2)]) > 20


def test_it_takes_nothing_from_a_person() -> None:
    found, near = KalmanFilter(FRAME), echo(0.2, 40)
    run(found, near, end_s=4)
    person = np.resize(rooms.person(1) * 0.05, 2 * RATE)
    both = near.copy()
    both[4 * RATE :] += person
    left = run(found, both, 4, 6)
    # the residual is the person, and at most an eighth of the person's power is wrong
    assert responses.decibels(np.square(left - person).mean()) < responses.decibels(0.05**2) - 9
    # the filter still knows the room afterwards
    again = run(found, near, 4, 6)
    assert removed_db(near[4 * RATE + JUMP :], again[JUMP:]) > 15


def test_in_long_reverberation_it_does_not_follow_the_person() -> None:
    found, near = KalmanFilter(FRAME), echo(1.0, 20)
    run(found, near, end_s=3)
    person = np.resize(rooms.person(1), 3 * RATE)
    person *= np.sqrt(np.square(near).mean() / np.square(person).mean())
    both = near.copy()
    both[3 * RATE :] += person
    left = run(found, both, 3, 6)
    assert removed_db(near[tail(2)], (left - person)[tail(2)]) > 15


def test_it_still_knows_the_room_after_the_person_has_spoken_in_a_silence() -> None:
    found, chance = KalmanFilter(FRAME), np.random.default_rng(3)
    silent = np.zeros(2 * RATE)
    far = np.concatenate((FAR[: 4 * RATE], silent, FAR[4 * RATE :]))
    near = 0.5 * responses.convolved(far, rooms.response(chance, 0.2, 40))
    near += 1e-4 * chance.standard_normal(len(near))
    near[4 * RATE : 6 * RATE] += np.resize(rooms.person(1) * 0.05, 2 * RATE)
    left = np.zeros(len(near))
    for at in range(0, len(near), FRAME):
        here = slice(at, at + FRAME)
        left[here] = found.process(near[here].astype(np.float32), far[here].astype(np.float32))
    before, after = slice(3 * RATE, 4 * RATE), slice(6 * RATE, 7 * RATE)
    assert removed_db(near[after], left[after]) > removed_db(near[before], left[before]) - 3


def test_before_and_after_it_is_held_back_it_knows_the_same_room() -> None:
    held = 12
    near = echo(0.1, 20.0 * held + 30)
    found = KalmanFilter(FRAME)
    run(found, near, end_s=4)
    found.set_delay(held)
    assert removed_db(near[4 * RATE : 5 * RATE], run(found, near, 4, 5)) > 15
    found.set_delay(0)
    assert removed_db(near[5 * RATE :], run(found, near, 5, 6)) > 15


def test_an_echo_that_comes_late_is_found_where_it_is_held_back() -> None:
    near = echo(0.1, 900)
    assert removed_db(near[tail(3)], run(KalmanFilter(FRAME), near)[tail(3)]) < 3
    found = KalmanFilter(FRAME)
    found.set_delay(MAX_DELAY - 6)
    assert removed_db(near[tail(3)], run(found, near)[tail(3)]) > 20


def test_a_volume_that_is_turned_up_can_be_told_to_it() -> None:
    near = echo(0.2, 40, 0.2)
    louder = near * 3
    told, untold = KalmanFilter(FRAME), KalmanFilter(FRAME)
    for found in (told, untold):
        run(found, near, end_s=4)
    told.scale(3.0)
    # at once
    by = [
        removed_db(louder[4 * RATE : 4 * RATE + 9600], run(f, louder, 4, 4.4))
        for f in (told, untold)
    ]
    assert by[0] > by[1] + 6
    assert by[0] > 15


def test_a_path_is_learnt_again_after_a_reset() -> None:
    near = echo(0.2, 40)
    found = KalmanFilter(FRAME)
    run(found, near, end_s=3)
    found.reset()
    first = run(found, near, 3, 3.02)
    np.testing.assert_allclose(first, near[3 * RATE : 3 * RATE + FRAME], atol=1e-6)
    assert removed_db(near[5 * RATE :], run(found, near, 3.02, 6)[tail(1)]) > 17


def test_a_long_silence_is_passed_over_and_forgets_nothing() -> None:
    near = echo(0.2, 40)
    silent: Samples = np.zeros(FRAME, np.float32)
    noise = np.random.default_rng(4).standard_normal(FRAME).astype(np.float32) * np.float32(1e-3)
    found = KalmanFilter(FRAME)
    run(found, near, end_s=4)
    for number in range(60 * 50):
        passed = found.process(noise, silent)
        if number > PARTITIONS + MAX_DELAY + 1:
            # the frame itself is returned: there is no echo to remove
            assert passed is noise
    left = run(found, near, 4, 5)
    assert removed_db(near[4 * RATE + JUMP : 5 * RATE], left[JUMP:]) > 17


def test_it_follows_a_microphone_that_controls_its_own_gain() -> None:
    found, near = KalmanFilter(FRAME), echo(0.2, 40)
    near *= 2.0 ** np.sin(2 * np.pi * np.arange(len(near)) / (8 * RATE))
    left = []
    for begin_s in range(SECONDS):
        left.append(run(found, near, begin_s, begin_s + 1))
        found.growth(RATE // FRAME)
    assert removed_db(near[tail(2)], np.concatenate(left)[tail(2)]) > 15


@pytest.mark.parametrize("ppm", [0, 60, -60])
def test_it_tells_whether_the_echos_way_grows(ppm: int) -> None:
    near = echo(0.2, 40)
    # the microphone's clock drifts, so the echo comes later and later
    drifting = soxr.resample(near, 1.0, 1 + ppm * 1e-6, "VHQ")
    found = KalmanFilter(FRAME)
    run(found, drifting, end_s=3)
    assert found.growth(25) == 0
    grown = 0.0
    for begin_s in np.arange(3, 5.5, 0.5):
        run(found, drifting, begin_s, begin_s + 0.5)
        grown += found.growth(25)
    # the filter follows the drift with a delay
    by_ppm = grown / (2.5 * RATE) * 1e6
    assert abs(by_ppm) < 1 if not ppm else 0.2 < by_ppm / ppm < 1.2
    # after a change of the room, the growth is unknown
    found.reset()
    run(found, near, 5, 5.5)
    assert found.growth(25) == 0


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_path_without_any_uncertainty_is_limited_without_a_fault() -> None:
    near, found = echo(0.2, 40), KalmanFilter(FRAME)
    found.uncertainty[:] = 0
    run(found, near, end_s=0.5)
    assert np.isfinite(found.weights).all()


def test_a_path_that_cannot_be_learnt_stays_uncertain() -> None:
    chance = np.random.default_rng(6)
    found = KalmanFilter(FRAME)
    for number in range(4 * 50):
        # the far end is far softer than the noise of the room
        near, far = chance.standard_normal((2, FRAME)).astype(np.float32)
        found.process(near * np.float32(0.01), far * np.float32(1e-6))
        if not number:
            before = found.uncertainty.copy()
    assert (found.uncertainty > 0.9 * before).all()


def test_two_rooms_are_no_way_that_grew() -> None:
    found = KalmanFilter(FRAME)
    run(found, echo(0.2, 40), end_s=2)
    found.growth(25)
    run(found, echo(0.2, 75), 2, 4)
    assert found.growth(25) == 0


def test_an_echo_that_comes_as_late_as_possible_may_jump() -> None:
    """The search for a jump looks at older sound than the filter itself."""
    kalman = KalmanFilter(FRAME)
    kalman.set_delay(MAX_DELAY)
    chance = np.random.default_rng(1)
    for _ in range(2 * (MAX_DELAY + PARTITIONS)):
        near, far = chance.normal(size=(2, FRAME)).astype(np.float32)
        kalman.process(near, far)
        _, correlation = kalman.find_shift()
        assert correlation < 0.88
