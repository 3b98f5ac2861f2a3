"""The microphone that is silent while the assistant speaks."""

from __future__ import annotations

import numpy as np
import pytest

from services.echo.halfduplex import HalfDuplex
from shared.audio import pcm

SAID = np.full(pcm.FRAME, 1000, np.int16).tobytes()
SILENT = bytes(pcm.FRAME_BYTES)
LOUD = np.full(pcm.FRAME, 0.1, np.float32)
SOFT = np.full(pcm.FRAME, 0.00005, np.float32)


@pytest.mark.parametrize(("hangover_ms", "frames"), [(0, 0), (20, 1), (50, 3), (300, 15)])
def test_it_is_silent_while_the_far_end_is_heard_and_somewhat_longer(
    hangover_ms: int, frames: int
) -> None:
    mic = HalfDuplex(hangover_ms)
    assert mic.apply(SAID, SOFT) == SAID
    assert [mic.apply(SAID, LOUD) for _ in range(5)] == [SILENT] * 5
    after = [mic.apply(SAID, SOFT) for _ in range(frames + 5)]
    assert after == [SILENT] * frames + [SAID] * 5


def test_one_loud_sample_is_the_far_end() -> None:
    far = SOFT.copy()
    far[-1] = -0.01
    assert HalfDuplex(0).apply(SAID, far) == SILENT


def test_a_frame_without_samples_is_one() -> None:
    assert HalfDuplex(0).apply(b"", np.zeros(0, np.float32)) == b""
