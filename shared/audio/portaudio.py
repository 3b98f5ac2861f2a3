# ruff: noqa: PLC0415 - NumPy is imported only for a device that needs converting
"""Microphones and speakers through PortAudio.

A stream runs by callback, on PortAudio's own thread. The callback holds Python's interpreter lock
(GIL). Anything that holds the lock for long in this process is heard as a dropout: a loop over
NumPy objects, an import, a slow regular expression. So a callback converts one buffer, and neither
waits nor logs.

A device that refuses 24 kHz mono is opened with more channels or at its own rate, and converted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.audio import channels, pcm, portaudio_library
from shared.audio.device import OnBlock, Render
from shared.audio.portaudio_stream import TOLERANCE_NS, Stream, keep_thread_state, offset_ns

if TYPE_CHECKING:
    from shared.audio.resample import Inward, Resampler


class PortAudioInput(Stream):
    """A microphone. ``wanted``: its index, its name or a part of it; "" for the default.

    ``channel`` is the number of the one channel that is heard, counted from 1; 0 is the mix.
    """

    def __init__(self, wanted: str, channel: int = 0) -> None:
        self._lost = False  # an overflow that was not reported yet
        self._resampler: Inward | None = None
        self._channel = channel
        super().__init__("input", wanted, channel)

    def fault(self) -> str | None:
        """Return in one line what is wrong with the sound; None if nothing is."""
        return self._mono.fault()

    def _prepare(self) -> int:
        self._mono = channels.Channels(self.channels, self._channel)
        if self.rate != pcm.RATE:
            from shared.audio.resample import Inward

            self._resampler = Inward(self.rate, pcm.RATE)
        return 0

    def start(self, on_block: OnBlock) -> None:
        """Start. Raises DeviceError if the device does not start; then it is closed."""
        self._on_block = on_block
        self._start()

    def _callback(
        self, data: bytes | None, frames: int, times: Mapping[str, float], status: int
    ) -> tuple[bytes | None, int]:
        if not self._called_ns:
            keep_thread_state()
        self._called_ns = now = time.monotonic_ns()
        try:
            length_ns = frames * 1_000_000_000 // self.rate
            adc_ns = now + offset_ns(
                times["current_time"],
                times["input_buffer_adc_time"],
                -self._latency_ns,
                -2 * self._latency_ns - TOLERANCE_NS,
            )
            # The buffer's last sample was captured before now, too.
            adc_ns = min(adc_ns, now - length_ns)
            block = self._mono.mono(data or b"")
            if self._resampler is not None:
                samples, shift_ns = self._resampler.process(pcm.to_array(block))
                block = pcm.from_array(samples)
                adc_ns += shift_ns
            # The resampler may return nothing yet: then the next block reports the overflow.
            self._lost |= bool(status & portaudio_library.INPUT_OVERFLOW)
            if block:
                lost, self._lost = self._lost, False
                self._on_block(block, adc_ns, lost)
        except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
            self._broken(error)
            return None, portaudio_library.ABORT
        return None, portaudio_library.CONTINUE


class PortAudioOutput(Stream):
    """A speaker. ``wanted``: its index, its name or a part of it; "" for the default."""

    def __init__(self, wanted: str) -> None:
        self.underflows = 0
        # Resampled samples that the device has not asked for yet: at most the samples that one
        # rendered sample makes.
        self._left = b""
        self._resampler: Resampler | None = None
        super().__init__("output", wanted)

    def _prepare(self) -> int:
        if self.channels > 1:
            # Import NumPy now: in the first callback it would take a tenth of a second.
            import numpy as np  # noqa: F401
        if self.rate == pcm.RATE:
            return 0
        from shared.audio.resample import Resampler

        self._resampler = Resampler(pcm.RATE, self.rate)
        return self._resampler.delay_ns

    def start(self, render: Render) -> None:
        """Start. Raises DeviceError if the device does not start; then it is closed."""
        self._render = render
        self._start()

    def warning(self) -> str | None:
        """Return None: every fault of a sound card ends it, and ``failure`` reports it."""
        return None

    def _callback(
        self,
        data: bytes | None,  # noqa: ARG002 - PyAudio passes it
        frames: int,
        times: Mapping[str, float],
        status: int,
    ) -> tuple[bytes | None, int]:
        if not self._called_ns:
            keep_thread_state()
        self._called_ns = now = time.monotonic_ns()
        try:
            if status & portaudio_library.OUTPUT_UNDERFLOW:
                self.underflows += 1
            dac_ns = now + offset_ns(
                times["current_time"],
                times["output_buffer_dac_time"],
                self._latency_ns,
                2 * self._latency_ns + TOLERANCE_NS,
            )
            if self._resampler is None:
                block = self._rendered(frames, dac_ns)
            else:
                block = self._resampled(frames, dac_ns)
            if self.channels > 1:
                block = self._spread(block)
        except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
            self._broken(error)
            return bytes(frames * self.channels * pcm.SAMPLE_BYTES), portaudio_library.ABORT
        return block, portaudio_library.CONTINUE

    def _rendered(self, samples: int, dac_ns: int) -> bytes:
        block = self._render(samples, dac_ns)
        if len(block) != samples * pcm.SAMPLE_BYTES:
            raise ValueError(f"render returned {len(block)} bytes for {samples} samples")
        return block

    def _resampled(self, frames: int, dac_ns: int) -> bytes:
        resampler = self._resampler
        assert resampler is not None
        left = len(self._left) // pcm.SAMPLE_BYTES
        samples = resampler.needed(frames - left)
        block = self._left
        if samples:
            # The device first plays the samples that are left over. The first rendered sample comes
            # out later by the resampler's delay. The next output lies ``next_input`` samples after
            # the input so far, so the rendered samples are heard that much sooner.
            dac_ns += left * 1_000_000_000 // self.rate
            dac_ns -= round((resampler.next_input - resampler.delay) * 1e9 / pcm.RATE)
            fresh = self._rendered(samples, dac_ns)
            block += pcm.from_array(resampler.process(pcm.to_array(fresh)))
        wanted = frames * pcm.SAMPLE_BYTES
        self._left = block[wanted:]
        return block[:wanted]

    def _spread(self, block: bytes) -> bytes:
        """Return mono on the first two channels, the front pair, and silence on the others."""
        import numpy as np

        samples = pcm.to_array(block)
        frames = np.zeros((len(samples), self.channels), np.int16)
        frames[:, :2] = samples[:, None]
        return pcm.from_array(frames)
