"""WebRTC's noise suppressor, as echo uses it, and its echo canceller, as the benchmarks do."""

from __future__ import annotations

import numpy as np

from services.echo.webrtc import Processing
from shared.audio import pcm

NOISE = (100 * np.random.default_rng(2).standard_normal(3 * pcm.RATE)).astype(np.int16)


def power_after(found: Processing, near: bytes, far: bytes = b"") -> float:
    """Return the mean power of the last second of ``near``, processed."""
    step = pcm.FRAME_BYTES
    made = [
        found.process(near[at : at + step], far[at : at + step]) for at in range(0, len(near), step)
    ]
    return float(np.square(pcm.to_array(b"".join(made))[-pcm.RATE :].astype(float)).mean())


def test_steady_noise_is_lowered_by_its_suppressor() -> None:
    before = float(np.square(NOISE[-pcm.RATE :].astype(float)).mean())
    assert power_after(Processing(noise_suppression=True), NOISE.tobytes()) < before / 4
    assert power_after(Processing(), NOISE.tobytes()) > before / 2


def test_an_echo_is_removed_by_its_canceller() -> None:
    far, late = 10 * NOISE, np.roll(NOISE, pcm.FRAME)
    before = float(np.square(late[-pcm.RATE :].astype(float)).mean())
    found = Processing(echo_cancellation=True)
    assert power_after(found, late.tobytes(), far.tobytes()) < before / 10
