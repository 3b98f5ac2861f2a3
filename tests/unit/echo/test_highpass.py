"""The filter against rumble."""

from __future__ import annotations

import numpy as np
import pytest

from services.echo.highpass import HighPass
from shared.audio.pcm import FRAME, RATE


@pytest.mark.parametrize(
    ("hertz", "gain_db"), [(25, -24.6), (100, -6.0), (300, -0.9), (1000, 0.0), (8000, 0.0)]
)
def test_rumble_is_removed_and_a_voice_is_not(hertz: float, gain_db: float) -> None:
    tone = np.sin(2 * np.pi * hertz / RATE * np.arange(RATE)).astype(np.float32)
    found = HighPass()
    out = np.concatenate([found.process(tone[at : at + FRAME]) for at in range(0, RATE, FRAME)])
    settled = slice(RATE // 4, None)
    change = 10 * np.log10(np.square(out[settled]).mean() / np.square(tone[settled]).mean())
    assert change == pytest.approx(gain_db, abs=0.4)


def test_the_frames_join_without_a_step() -> None:
    found = HighPass()
    out = np.concatenate([found.process(np.full(FRAME, 0.5, np.float32)) for _ in range(40)])
    assert np.abs(np.diff(out)).max() < 0.03
    assert abs(out[-1]) < 1e-4
