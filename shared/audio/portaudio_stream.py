"""A stream of PortAudio: opening, watching and closing it, for a microphone or a speaker."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping

from shared.audio import channels, pcm, portaudio_library
from shared.audio.device import DeviceError, Kind

#: A device hangs if its callback was not called for 2 s …
SILENT_NS = 2_000_000_000
#: … or for 5 s after its start: a sound server can take 2 s to wake an idle device.
SILENT_AT_FIRST_NS = 5_000_000_000
#: A device that seems to hang is checked again 0.3 s later: perhaps this process itself was stopped
#: for a while, and not the device.
_LOOK_AGAIN_NS = 300_000_000
#: A time from PortAudio is believed if it lies no further from now than this, 0.1 s, plus twice the
#: stream's latency. While a stream of ALSA's pulse plugin starts, it is wrong by hundreds of ms.
TOLERANCE_NS = 100_000_000


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


class Stream:
    """A stream of a microphone or of a speaker: opening, watching and closing it."""

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
            lambda: self._open(kind, wanted, channel), undo=lambda _: self._library.close()
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
        """Close the stream and PortAudio; discard audio that was not played."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        portaudio_library.close(self._library)

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
        self._library = portaudio_library.PortAudio()
        try:
            device = portaudio_library.choose(self._library.devices(kind), kind, wanted)
            channels.check_channel(channel, device.channels, f"microphone {device.name!r}")
            self._stream, self.rate, self.channels = self._library.open(
                kind, device, self._callback, channel
            )
        except BaseException:
            self._library.close()
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


def keep_thread_state() -> None:
    """Keep Python's state of PortAudio's thread, for as long as the thread lives.

    PyAudio creates and deletes that state in each callback, which maps and unmaps memory and costs
    as much as the callback itself. This adds a use of the state that never ends. A thread that ends
    leaves some kB behind.
    """
    ctypes.pythonapi.PyGILState_Ensure()
