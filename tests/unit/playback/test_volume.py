"""The volume: its curve, and the way from one volume to the next."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.playback.volume import RAMP, Volume, gain
from shared.audio import pcm

pytestmark = pytest.mark.unit

LOUD = 20_000


def tone(samples: int) -> bytes:
    return np.full(samples, LOUD, "<i2").tobytes()


def test_the_curve_has_both_ends_and_only_rises() -> None:
    gains = [gain(percent) for percent in range(101)]
    assert (gains[0], gains[-1]) == (0.0, 1.0)
    assert all(a < b for a, b in pairwise(gains))
    # as in PulseAudio
    assert 20 * np.log10(gain(50)) == pytest.approx(-18.06, abs=0.01)


@given(st.integers(0, 100), st.integers(0, 100), st.lists(st.integers(0, 1000), max_size=20))
def test_a_new_volume_is_reached_without_a_step(first: int, then: int, sizes: list[int]) -> None:
    volume = Volume(first)
    assert pcm.to_array(volume.render(tone(3))).tolist() == [int(LOUD * gain(first))] * 3
    volume.wanted = gain(then)
    out = pcm.to_array(b"".join(volume.render(tone(size)) for size in [*sizes, RAMP + 1]))
    assert len(out) == sum(sizes) + RAMP + 1
    levels = [int(LOUD * gain(first)), *out.tolist()]
    assert max(abs(b - a) for a, b in pairwise(levels)) <= LOUD / RAMP + 1
    assert out[-1] == int(LOUD * gain(then))
    assert volume.level == volume.wanted
