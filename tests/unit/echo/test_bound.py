"""The greatest gain that the echo path can have: the microphone limits it at each delay."""

from __future__ import annotations

import numpy as np

from services.echo.bound import PathBound
from shared.audio.pcm import FRAME

GREATEST, DELAYS = 3.0, 20


def heard(gain: float, frames: int, noise: float = 1e-3, seconds: int = 40) -> PathBound:
    """Return the bound after a far end of white noise that comes back so many frames later."""
    chance = np.random.default_rng(5)
    bound = PathBound(DELAYS, GREATEST)
    far = chance.standard_normal((seconds, FRAME)).astype(np.float32)
    far[:5] = 0
    quiet = noise * chance.standard_normal((seconds, FRAME)).astype(np.float32)
    for at in range(seconds):
        echo = far[at - frames] if at >= frames else np.zeros(FRAME, np.float32)
        bound.add(np.float32(gain) * echo + quiet[at], far[at])
    return bound


def test_before_the_far_end_nothing_is_known() -> None:
    bound = PathBound(DELAYS, GREATEST)
    assert (bound.gains == GREATEST).all()
    bound.add(np.zeros(FRAME, np.float32), np.zeros(FRAME, np.float32))
    assert (bound.gains == GREATEST).all()
    assert bound.echoes().max() == 0


def test_the_first_sound_shows_where_there_is_no_echo_and_how_loud_it_can_be() -> None:
    bound = heard(0.5, 7)
    assert (bound.gains[:6] < 0.01).all()
    assert 0.25 < bound.gains[7] < 0.6
    # what is left can explain the echo
    assert bound.echoes().max() > 0.25


def test_a_microphone_that_hears_only_noise_leaves_no_room_for_an_echo() -> None:
    bound = heard(0.0, 0)
    assert bound.gains.max() < 1e-5


def test_a_muted_microphone_shows_nothing() -> None:
    bound = PathBound(DELAYS, GREATEST)
    far = np.full(FRAME, 0.1, np.float32)
    far[::2] *= -1
    for _ in range(DELAYS):
        bound.add(np.zeros(FRAME, np.float32), far)
    assert (bound.gains == GREATEST).all()


def test_a_reset_forgets_the_bound() -> None:
    bound = heard(0.5, 7)
    bound.reset()
    assert (bound.gains == GREATEST).all()
