"""WebRTC's audio processing. Only this module imports the package livekit, which ships it.

``echo.noise_suppression`` uses WebRTC's noise suppressor. The benchmarks compare Bargein with
WebRTC's echo canceller (AEC3).
"""

from __future__ import annotations

from livekit import rtc

from shared.audio.pcm import RATE, SAMPLE_BYTES

#: Samples in a block: WebRTC processes 10 ms at a time.
BLOCK = RATE // 100
_BLOCK_BYTES = BLOCK * SAMPLE_BYTES


class Processing:
    """The processing of one microphone: mono s16le at 24 kHz, in whole blocks of 10 ms."""

    def __init__(
        self,
        *,
        echo_cancellation: bool = False,
        high_pass: bool = False,
        noise_suppression: bool = False,
    ) -> None:
        self._module = rtc.AudioProcessingModule(
            echo_cancellation=echo_cancellation,
            high_pass_filter=high_pass,
            noise_suppression=noise_suppression,
        )
        # WebRTC processes a frame in place, so two frames are enough. The views write into them.
        self._near, self._far = (
            rtc.AudioFrame(bytearray(_BLOCK_BYTES), RATE, 1, BLOCK) for _ in range(2)
        )
        self._near_bytes, self._far_bytes = (f.data.cast("B") for f in (self._near, self._far))

    def process(self, near: bytes, far: bytes = b"") -> bytes:
        """Return ``near``, the microphone, after the processing.

        The echo canceller needs ``far``: what the speaker played at the same time, as long as
        ``near``.
        """
        clean = bytearray(len(near))
        for at in range(0, len(near), _BLOCK_BYTES):
            here = slice(at, at + _BLOCK_BYTES)
            if far:
                self._far_bytes[:] = far[here]
                self._module.process_reverse_stream(self._far)
            self._near_bytes[:] = near[here]
            self._module.process_stream(self._near)
            clean[here] = self._near_bytes
        return bytes(clean)
