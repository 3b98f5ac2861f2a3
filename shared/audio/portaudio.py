# ruff: noqa: PLC0415 - NumPy is imported only for a device that needs converting
"""Microphones and speakers through PortAudio.

A stream runs by callback, on PortAudio's own thread. The callback holds Python's interpreter lock
(GIL). Anything that holds the lock for long in this process is heard as a dropout: a loop over
NumPy objects, an import, a slow regular expression. So a callback converts one buffer, and neither
waits nor logs.

A device that refuses 24 kHz mono is opened with more channels or at its own rate, and converted.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.audio import channels, pcm, portaudio_library
from shared.audio.device import DeviceError, Kind, OnBlock, Render

if TYPE_CHECKING:
    from shared.audio.resample import Inward, Resampler

#: A device hangs if its callback was not called for 2 s …
SILENT_NS = 2_000_000_000
#: … or for 5 s after its start: a sound server can take 2 s to wake an idle device.
SILENT_AT_FIRST_NS = 5_000_000_000
#: A device that seems to hang is looked at again 0.3 s later: this process itself may have been
#: stopped for a while.
_LOOK_AGAIN_NS = 300_000_000
#: A time from PortAudio is believed if it lies no further from now than this, 0.1 s, plus twice the
#: stream's latency. While a stream of ALSA's pulse plugin starts, it is wrong by hundreds of ms.
_TOLERANCE_NS = 100_000_000


def offset_ns(current_s: float, converter_s: float, fallback_ns: int, allowed_ns: int) -> int:
    """Return how far from now PortAudio puts the time at the converter, in ns.

    ``current_s`` and ``converter_s`` are PortAudio's times of now and of the converter. Only their
    difference is used, because PortAudio's clock may be the wall clock. Return ``fallback_ns`` if
    either time is missing (0), or if the difference is not between 0 and ``allowed_ns``.
    """
    found = (converter_s - current_s) * 1e9
    if current_s > 0 and converter_s > 0 and min(0, allowed_ns) <= found <= max(0, allowed_ns):
        return round(found)
    return fallback_ns


class _Stream:
    """What a microphone and a speaker share: opening, watching and closing a stream."""

    def __init__(self, kind: Kind, wanted: str, channel: int = 0) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._stopped = False
        self._failure: str | None = None
        self._called_ns = 0  # when the callback was called last; 0: never
        self._begun_ns = 0
        # since when the device has seemed to hang, and ``_called_ns`` at that time
        self._suspected: tuple[int, int] | None = None
        device = portaudio_library.call(
            lambda: self._open(kind, wanted, channel), undo=lambda _: self._session.close()
        )
        self._name = f"{device.index} {device.name!r}"
        latency_s: float = getattr(self._stream, f"get_{kind}_latency")()
        self._latency_ns = max(0, round(latency_s * 1e9))
        self.latency_ns = self._latency_ns + self._prepare()
        self.description = (
            f"portaudio {self._name} at {self.rate} Hz"
            + (", resampled" if self.rate != pcm.RATE else "")
            + self._channels_used(channel)
            + f", latency {self.latency_ns / 1e6:.0f} ms"
        )

    def stop(self) -> None:
        """Close the stream and PortAudio; discard what was not played."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        portaudio_library.close(self._session)

    def failure(self) -> str | None:
        """Return why the device has failed, in one line; None while it works."""
        with self._lock:
            if not self._started or self._stopped:
                return self._failure
            # Ask this first: a callback that failed sets ``_failure`` before its stream ends.
            active = self._stream.is_active()
            if self._failure:
                return self._failure
            if not active:
                self._failure = (
                    f"portaudio {self._name} stopped by itself:"
                    " unplugged, or the sound server is gone"
                )
                return self._failure
            now = time.monotonic_ns()
            early = now - self._begun_ns < SILENT_AT_FIRST_NS
            silent_ns = now - max(self._called_ns, self._begun_ns)
            if silent_ns <= (SILENT_AT_FIRST_NS if early else SILENT_NS):
                self._suspected = None
            elif self._suspected is None or self._suspected[1] != self._called_ns:
                self._suspected = (now, self._called_ns)
            elif now - self._suspected[0] >= _LOOK_AGAIN_NS:
                self._failure = (
                    f"portaudio {self._name} hangs: nothing from it for {silent_ns / 1e9:.1f} s"
                )
            return self._failure

    def _start(self) -> None:
        if self._started or self._stopped:
            raise RuntimeError("a device is started once: open another")
        self._begun_ns = time.monotonic_ns()
        try:
            portaudio_library.call(self._stream.start_stream)
        except DeviceError:
            self.stop()
            raise
        except OSError as error:
            self.stop()
            raise DeviceError(
                f"portaudio {self._name} does not start: {portaudio_library.error_text(error)}"
            ) from None
        self._started = True

    def _channels_used(self, channel: int) -> str:
        if channel:
            return f", channel {channel} of {self.channels}"
        return f", {self.channels} channels" if self.channels > 1 else ""

    def _open(self, kind: Kind, wanted: str, channel: int) -> portaudio_library.Device:
        self._session = portaudio_library.Session()
        try:
            device = portaudio_library.choose(self._session.devices(kind), kind, wanted)
            channels.check_channel(channel, device.channels, f"microphone {device.name!r}")
            self._stream, self.rate, self.channels = self._session.open(
                kind, device, self._callback, channel
            )
        except BaseException:
            self._session.close()
            raise
        return device

    def _prepare(self) -> int:
        """Create the resampler, if the device needs one; return its delay in ns."""
        raise NotImplementedError

    def _broken(self, error: Exception) -> None:
        self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")

    def _callback(
        self, data: bytes | None, frames: int, times: Mapping[str, float], status: int
    ) -> tuple[bytes | None, int]:
        raise NotImplementedError


class PortAudioInput(_Stream):
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
            _keep_thread_state()
        self._called_ns = now = time.monotonic_ns()
        try:
            length_ns = frames * 1_000_000_000 // self.rate
            adc_ns = now + offset_ns(
                times["current_time"],
                times["input_buffer_adc_time"],
                -self._latency_ns,
                -2 * self._latency_ns - _TOLERANCE_NS,
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


class PortAudioOutput(_Stream):
    """A speaker. ``wanted``: its index, its name or a part of it; "" for the default."""

    def __init__(self, wanted: str) -> None:
        self.underflows = 0
        # Resampled samples that the device has not asked for yet: what one rendered sample makes,
        # at most.
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
            _keep_thread_state()
        self._called_ns = now = time.monotonic_ns()
        try:
            if status & portaudio_library.OUTPUT_UNDERFLOW:
                self.underflows += 1
            dac_ns = now + offset_ns(
                times["current_time"],
                times["output_buffer_dac_time"],
                self._latency_ns,
                2 * self._latency_ns + _TOLERANCE_NS,
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


def _keep_thread_state() -> None:
    """Keep Python's state of PortAudio's thread, for as long as the thread lives.

    PyAudio creates and deletes that state in each callback, which maps and unmaps memory and costs
    as much as the callback itself. This adds a use of the state that never ends. A thread that ends
    leaves some kB behind.
    """
    ctypes.pythonapi.PyGILState_Ensure()
