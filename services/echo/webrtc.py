"""WebRTC's audio processing, as livekit ships it: the only importer of livekit.

Its echo canceller (AEC3) takes away what a linear filter leaves, its other parts rumble and noise.
"""

from __future__ import annotations

from livekit import rtc

from shared.audio.pcm import RATE, SAMPLE_BYTES

#: What WebRTC takes at a time: 10 ms.
BLOCK = RATE // 100
_BLOCK_BYTES = BLOCK * SAMPLE_BYTES


class Processing:
    """One microphone's processing. All PCM is mono s16le at 24 kHz, in whole blocks of 10 ms."""

    def __init__(self, *, high_pass: bool, noise_suppression: bool) -> None:
        self._module = rtc.AudioProcessingModule(
            echo_cancellation=True,
            high_pass_filter=high_pass,
            noise_suppression=noise_suppression,
        )
        # processed in place, again and again: a frame's buffer is written through these views
        self._near, self._far = (
            rtc.AudioFrame(bytearray(_BLOCK_BYTES), RATE, 1, BLOCK) for _ in range(2)
        )
        self._near_bytes, self._far_bytes = (f.data.cast("B") for f in (self._near, self._far))

    def process(self, near: bytes, far: bytes) -> bytes:
        """Give the microphone without the echo of ``far``, which was heard at the same time."""
        clean = bytearray(len(near))
        for at in range(0, len(near), _BLOCK_BYTES):
            here = slice(at, at + _BLOCK_BYTES)
            self._far_bytes[:] = far[here]
            self._module.process_reverse_stream(self._far)
            self._near_bytes[:] = near[here]
            self._module.process_stream(self._near)
            clean[here] = self._near_bytes
        return bytes(clean)
