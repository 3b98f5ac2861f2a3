"""WebRTC's canceller: how much later the sound comes out."""

from __future__ import annotations

import numpy as np

from services.echo.webrtc import DELAY, Processing
from shared.audio import pcm


def test_the_sound_comes_out_later_by_the_delay() -> None:
    chance = np.random.default_rng(2)
    near = (1000 * chance.standard_normal(pcm.RATE)).astype(np.int16)
    found = Processing(high_pass=False, noise_suppression=False)
    silent = bytes(pcm.FRAME_BYTES)
    out = np.concatenate(
        [
            pcm.to_array(found.process(near[at : at + pcm.FRAME].tobytes(), silent))
            for at in range(0, len(near), pcm.FRAME)
        ]
    )
    spectrum = np.fft.rfft(out) * np.conj(np.fft.rfft(near))
    assert int(np.argmax(np.fft.irfft(spectrum))) == DELAY
