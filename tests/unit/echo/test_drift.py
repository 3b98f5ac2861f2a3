"""How fast the echo moves, from its phase alone."""

from __future__ import annotations

import numpy as np
import pytest

from services.echo.drift import STRETCH, Drift

FREQUENCIES = np.linspace(0.03, 1.0, 156).astype(np.float32)


def shifts(
    drift: Drift, later: float, stretches: int, *, noise: float = 0.5, delay: int = 3
) -> list[float]:
    """Return what is measured where the echo comes so many samples later in each stretch."""
    chance = np.random.default_rng(4)
    path = np.exp(2j * np.pi * chance.uniform(size=156))
    found = []
    for frame in range(stretches * STRETCH):
        turned = path * np.exp(-1j * FREQUENCIES * later * frame / STRETCH)
        scatter = noise * (chance.standard_normal(156) + 1j * chance.standard_normal(156))
        found.append(drift.add((turned + scatter).astype(np.complex64), delay))
    return [shift for shift in found if shift is not None]


@pytest.mark.parametrize("later", [-6.0, -3.5, 2.5, 6.0])
def test_a_fast_drift_is_known_after_two_stretches(later: float) -> None:
    assert shifts(Drift(FREQUENCIES), later, 2) == [0.0, pytest.approx(later, abs=0.25)]


@pytest.mark.parametrize("later", [-1.25, 1.25])
def test_a_slower_one_is_left_to_the_filter(later: float) -> None:
    assert set(shifts(Drift(FREQUENCIES), later, 3)) == {0.0}


@pytest.mark.parametrize("later", [-9.0, 9.0])
def test_a_shift_beyond_the_search_is_no_drift(later: float) -> None:
    assert set(shifts(Drift(FREQUENCIES), later, 3)) == {0.0}


def test_two_comparisons_agree_on_a_drift_and_not_on_an_echo_that_moved_once() -> None:
    drift = Drift(FREQUENCIES)
    agrees = []
    # after two stretches the echo moves back to where it began
    for stretches in (2, 1, 3):
        shifts(drift, 4.0, stretches)
        agrees.append(drift.agrees)
    drift.forget()
    agrees.append(drift.agrees)
    assert agrees == [False, False, True, False]


def test_an_echo_that_does_not_move_and_noise_have_no_drift() -> None:
    assert set(shifts(Drift(FREQUENCIES), 0.0, 6)) == {0.0}
    assert set(shifts(Drift(FREQUENCIES), 3.0, 6, noise=30)) == {0.0}


def voiced(later: float, stretches: int, scatter: float, seed: int) -> list[float]:
    """Return what is measured of a voice in a reverberant room: few loud bins, whose phases jump.

    From stretch to stretch the reverberation turns each phase by ``scatter`` rad (deviation).
    """
    chance = np.random.default_rng(seed)
    drift = Drift(FREQUENCIES)
    path = np.exp(2j * np.pi * chance.uniform(size=156))
    found = []
    for stretch in range(stretches):
        loudness = np.full(156, 0.02)
        loudness[chance.choice(60, size=6, replace=False)] = 1
        turned = path * np.exp(-1j * FREQUENCIES * later * stretch)
        turned *= loudness * np.exp(1j * scatter * chance.standard_normal(156))
        found += [drift.add(turned.astype(np.complex64), 3) for _ in range(STRETCH)]
    return [shift for shift in found if shift is not None]


def test_reverberation_is_no_drift() -> None:
    for seed in range(20):
        assert set(voiced(0.0, 20, scatter=0.5, seed=seed)) == {0.0}


@pytest.mark.parametrize("later", [-6.0, -3.5, 2.5, 6.0])
def test_a_voice_in_reverberation_shows_a_drift(later: float) -> None:
    for seed in range(20):
        found = [shift for shift in voiced(later, 8, scatter=0.3, seed=seed) if shift]
        assert np.median(found) == pytest.approx(later, abs=1.0)


def test_an_echo_at_another_delay_is_measured_anew() -> None:
    drift = Drift(FREQUENCIES)
    shifts(drift, 0.0, 1)
    assert shifts(drift, 4.0, 1, delay=5) == [0.0]
