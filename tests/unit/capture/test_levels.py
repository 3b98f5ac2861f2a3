"""The microphone's level: loudness, clipping, and no sound at all."""

from __future__ import annotations

import numpy as np
import pytest

from services.capture.levels import FLOOR_DBFS, Levels
from shared.audio import pcm

pytestmark = pytest.mark.unit


def frames(levels: Levels, samples: object) -> None:
    """Add samples, frame by frame."""
    data = np.asarray(samples, "<i2").tobytes()
    for at in range(0, len(data), pcm.FRAME_BYTES):
        levels.add(data[at : at + pcm.FRAME_BYTES])


def sine(amplitude: float, seconds: float = 1.0) -> np.ndarray:
    at = np.arange(round(pcm.RATE * seconds)) / pcm.RATE
    return np.rint(amplitude * np.sin(2 * np.pi * 437 * at))


@pytest.mark.parametrize(("amplitude", "peak", "rms"), [(32760, 0, -3), (3277, -20, -23)])
def test_a_tone_has_its_level(amplitude: float, peak: int, rms: int) -> None:
    levels = Levels()
    frames(levels, sine(amplitude))
    level = levels.take()
    assert level is not None
    assert (level.peak, level.rms, level.clipped, level.silent_s) == (peak, rms, 0, 0)
    assert str(level) == f"{rms} dBFS, peak {peak}"


def test_each_level_is_of_what_came_since_the_last() -> None:
    levels = Levels()
    assert levels.take() is None
    frames(levels, sine(32760))
    assert levels.take() is not None
    assert levels.take() is None
    frames(levels, sine(3277))
    level = levels.take()
    assert level is not None
    assert level.peak == -20


def test_samples_at_full_scale_are_counted_both_ways() -> None:
    levels = Levels()
    samples = np.zeros(4800)
    samples[[3, 4, 1000]] = 32767
    samples[[2000, 2001]] = -32768
    samples[5] = 32766
    frames(levels, samples)
    level = levels.take()
    assert level is not None
    assert level.clipped == 5
    assert level.peak == 0


@pytest.mark.parametrize("limit", [1100, 8000, 32000])
def test_flat_tops_below_full_scale_are_clipped_too(limit: int) -> None:
    levels = Levels()
    frames(levels, np.clip(sine(1.5 * limit), -limit, limit))
    level = levels.take()
    assert level is not None
    assert level.clipped > pcm.RATE // 3


@pytest.mark.parametrize("amplitude", [900, 1040, 3277, 30_000])
def test_a_hum_and_a_tone_have_no_flat_tops(amplitude: int) -> None:
    levels = Levels()
    at = np.arange(pcm.RATE) / pcm.RATE
    for frequency in (50, 437, 6000):
        frames(levels, np.rint(amplitude * np.sin(2 * np.pi * frequency * at)))
        level = levels.take()
        assert level is not None
        assert level.clipped == 0


def test_zeros_alone_are_judged_by_how_long_they_last() -> None:
    levels = Levels()
    frames(levels, np.ones(480))
    frames(levels, np.zeros(pcm.RATE * 2))
    level = levels.take()
    assert level is not None
    assert level.silent_s == 2
    # the silence goes on
    frames(levels, np.zeros(pcm.RATE))
    level = levels.take()
    assert level is not None
    assert (level.silent_s, level.peak, level.rms) == (3, FLOOR_DBFS, FLOOR_DBFS)
    # one sample that is not zero ends the silence
    frames(levels, [0] * 479 + [-1])
    level = levels.take()
    assert level is not None
    assert level.silent_s == 0
