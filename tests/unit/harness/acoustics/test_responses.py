"""The measurements of impulse responses, on responses whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.acoustics.responses import (
    active_rms,
    convolved,
    decibels,
    delayed,
    faded,
    first_sound,
    fitted,
    reverb_time,
)
from shared.audio.pcm import RATE
from tests.support.responses import decaying

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("reverb_s", [0.2, 0.6, 2.0])
def test_the_reverberation_time_of_a_known_decay_is_measured(reverb_s: float) -> None:
    assert reverb_time(decaying(reverb_s, lead=500)) == pytest.approx(reverb_s, rel=0.05)


@pytest.mark.parametrize(("made_s", "wanted_s"), [(0.5, 0.4), (0.3, 0.4), (1.6, 2.0)])
def test_a_response_is_fitted_to_the_wanted_time(made_s: float, wanted_s: float) -> None:
    response = fitted(decaying(made_s, lead=777), wanted_s)
    assert reverb_time(response) == pytest.approx(wanted_s, rel=0.02)
    assert first_sound(response) == 0
    assert response[0] == pytest.approx(1.0)


def test_a_silent_beginning_delays() -> None:
    response = delayed(decaying(0.2), 320)
    assert first_sound(response) == 320 * RATE // 1000
    click = np.zeros(RATE)
    click[100] = 1
    assert int(np.argmax(convolved(click, response))) == 100 + 320 * RATE // 1000


def test_a_fade_goes_from_one_sound_to_the_next_at_equal_power() -> None:
    length = 20_000
    one, two = np.random.default_rng(1).standard_normal((2, length))
    both = faded([one, two], np.linspace(0, 1, length))
    np.testing.assert_allclose(both[0], one[0])
    np.testing.assert_allclose(both[-1], two[-1])
    middle = slice(length // 2 - 2000, length // 2 + 2000)
    assert decibels(float(np.square(both[middle]).mean())) == pytest.approx(0, abs=0.3)


def test_pauses_do_not_count_in_a_level() -> None:
    voice = np.random.default_rng(1).standard_normal(RATE) * 0.1
    assert active_rms(np.concatenate((voice, np.zeros(3 * RATE)))) == pytest.approx(0.1, rel=0.02)
    assert active_rms(np.zeros(RATE)) == 0
