# ruff: noqa: PLC0415 - NumPy is imported only for a device that needs converting
"""Real devices, through PortAudio: the only importer of pyaudio.

Streams run by callback. A speaker asks for 128 samples of 24 kHz, 5.3 ms: that is silent 2 ms later
than the shortest a sound server gives, 64, at half the cost; anything between or beyond is worse. A
microphone asks for 10 ms: a frame of 20 is complete just as early, at half the cost and with fewer
overflows. A device that refuses 24 kHz mono is opened with more channels, or at its own rate, and
converted.

PyAudio takes the GIL for each callback, and with it a new state of Python's for PortAudio's thread,
which maps and unmaps memory and costs as much as the callback itself: so the first one makes the
state stay. Whatever holds it for long in this process (a loop over
NumPy objects, an import, a regular expression gone wild) is heard as a dropout, and what runs in
the callback delays everything else: so nothing in it waits, logs, or does more than convert one
buffer.

PortAudio looks for devices once, when its first user in a process comes: a device plugged in
later is found after every other device of the process has been stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from shared.audio import pcm
from shared.audio.device import DeviceError, Kind, OnBlock, Render

if TYPE_CHECKING:
    from shared.audio.resample import Inward, Resampler

try:
    import pyaudio
except ImportError as error:
    raise DeviceError(
        f"no sound devices: PyAudio cannot be loaded ({error});"
        " install it, or use file:<path> or null"
    ) from None

#: What each kind asks for: samples of 24 kHz in a buffer.
_BUFFER: Mapping[Kind, int] = {"input": 240, "output": 128}
#: A callback that has not come for so long will not come again.
SILENT_NS = 2_000_000_000
#: The same for the first seconds: a sound server may take two to wake an idle sink.
SILENT_AT_FIRST_NS = 5_000_000_000
#: A second look is taken so much later: the process may itself have been stopped for a while.
_LOOK_AGAIN_NS = 300_000_000
#: How far ahead of or behind now a time from PortAudio may be, beyond twice the stream's latency.
#: While a stream of ALSA's pulse plugin starts up it is wrong by hundreds of ms.
_TOLERANCE_NS = 100_000_000
#: How long PortAudio may take to look for devices and to open or start one.
_OPEN_S = 8.0
#: ``stop`` leaves a device that will not close behind after so long.
_CLOSE_S = 0.4

_T = TypeVar("_T")


@dataclass(frozen=True)
class Device:
    """One of PortAudio's devices, as seen in one direction."""

    index: int
    name: str
    host_api: str
    channels: int  # at most
    rate: int  # Hz, its default
    latency_ms: float  # the low one
    default: bool


def list_devices(kind: Kind) -> str:
    """Give a table of the devices of one kind; a star marks the default."""
    devices = _answered(lambda: _listed(kind))
    if not devices:
        return f"PortAudio finds no {kind} devices."
    head = ("", "index", "name", "host API", "channels", "rate", "latency")
    rows = [
        (
            "*" if d.default else "",
            str(d.index),
            d.name,
            d.host_api,
            str(d.channels),
            f"{d.rate} Hz",
            f"{d.latency_ms:.0f} ms",
        )
        for d in devices
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def choose(devices: Sequence[Device], kind: Kind, wanted: str) -> Device:
    """Give the device with an index, a name or a part of it; the default for an empty string."""
    what = "microphone" if kind == "input" else "speaker"
    if not devices:
        raise DeviceError(f"no {what}: PortAudio finds no {kind} devices; use file:<path> or null")
    if not wanted:
        found = [d for d in devices if d.default]
        if not found:
            raise DeviceError(
                f"no default {what}; name one with portaudio:<index>: {_names(devices)}"
            )
        return found[0]
    if wanted.isascii() and wanted.isdigit():
        found = [d for d in devices if d.index == int(wanted)]
    else:
        name = wanted.casefold()
        found = [d for d in devices if d.name.casefold() == name]
        found = found or [d for d in devices if name in d.name.casefold()]
    if not found:
        raise DeviceError(f"no {what} is called {wanted!r}; there are: {_names(devices)}")
    if len(found) > 1:
        raise DeviceError(
            f"{len(found)} {what}s are called {wanted!r}; give the index of one: {_names(found)}"
        )
    return found[0]


def offset_ns(current_s: float, converter_s: float, fallback_ns: int, allowed_ns: int) -> int:
    """Give how far from the callback's own time PortAudio puts the converter's, if that can be
    true.

    Only the difference is used: the clock may be the wall's. ``fallback_ns`` is given where
    either time is missing (0) or their difference goes the wrong way, or further than
    ``allowed_ns`` (signed).
    """
    found = (converter_s - current_s) * 1e9
    if current_s > 0 and converter_s > 0 and min(0, allowed_ns) <= found <= max(0, allowed_ns):
        return round(found)
    return fallback_ns


class _Control:
    """The one thread from which PortAudio is called, but for a look at whether a stream is active.

    PortAudio counts and links in globals, without a lock; on Windows it is bound to the thread that
    initialised it; and a sound server that hangs must not hang the stage, nor its signals.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], _T], seconds: float) -> _T:
        """Give what ``work`` gives, or raise what it raises; TimeoutError after ``seconds``."""
        done: queue.SimpleQueue[tuple[list[_T], BaseException | None]] = queue.SimpleQueue()

        def job() -> None:
            try:
                done.put(([work()], None))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                done.put(([], error))

        self._jobs.put(job)
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="portaudio", daemon=True)
                self._thread.start()
        try:
            result, error = done.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return result[0]

    def _run(self) -> None:
        while True:
            self._jobs.get()()


_CONTROL = _Control()


def _answered(work: Callable[[], _T]) -> _T:
    """Give what ``work`` gives on PortAudio's thread; DeviceError if that takes too long."""
    try:
        return _CONTROL.do(work, _OPEN_S)
    except TimeoutError:
        raise DeviceError(
            f"the sound system has not answered for {_OPEN_S:.0f} s: restart the sound server"
        ) from None


def _listed(kind: Kind) -> list[Device]:
    session = _Session()
    try:
        return session.devices(kind)
    finally:
        session.close()


class _Session:
    """PortAudio, initialised; ``close`` lets go of it, and of every stream opened in it."""

    def __init__(self) -> None:
        with _quiet():
            try:
                self._pa: Any = pyaudio.PyAudio()
            except OSError as error:
                raise DeviceError(f"PortAudio does not start: {_words(error)}") from None

    def close(self) -> None:
        """Terminate; a stream that is active is not waited for: what it has left is discarded."""
        self._pa.terminate()

    def devices(self, kind: Kind) -> list[Device]:
        """Give the devices that have channels of this kind."""
        try:
            default = getattr(self._pa, f"get_default_{kind}_device_info")()["index"]
        except OSError:
            default = -1
        title = kind.capitalize()
        devices = []
        for index in range(self._pa.get_device_count()):
            info: Mapping[str, Any] = self._pa.get_device_info_by_index(index)
            if info[f"max{title}Channels"] > 0:
                host_api = self._pa.get_host_api_info_by_index(info["hostApi"])
                devices.append(
                    Device(
                        index,
                        _text(info["name"]),
                        _text(host_api["name"]),
                        info[f"max{title}Channels"],
                        round(info["defaultSampleRate"]),
                        info[f"defaultLow{title}Latency"] * 1000,
                        index == default,
                    )
                )
        return devices

    def open(self, kind: Kind, device: Device, callback: Any) -> tuple[Any, int, int]:
        """Open a stream; give it, its rate and its channels. DeviceError if all are refused."""
        # Nearest to 24 kHz mono first; to convert the rate costs latency, the channels do not.
        counts = dict.fromkeys((1, min(2, device.channels), device.channels))
        refused = None
        for rate in dict.fromkeys((pcm.RATE, device.rate)):
            frames = rate * _BUFFER[kind] // pcm.RATE
            for channels in counts:
                try:
                    with _quiet():
                        stream = self._pa.open(
                            rate=rate,
                            channels=channels,
                            format=pyaudio.paInt16,
                            frames_per_buffer=frames,
                            start=False,
                            stream_callback=callback,
                            **{kind: True, f"{kind}_device_index": device.index},
                        )
                except (OSError, ValueError) as error:
                    refused = error
                else:
                    return stream, rate, channels
        raise DeviceError(
            f"{kind} device {device.index} {device.name!r} cannot be opened: {_words(refused)};"
            " is it in use, or unplugged?"
        )


class _Stream:
    """What both directions share: opening, watching, closing."""

    def __init__(self, kind: Kind, wanted: str) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._stopped = False
        self._failure: str | None = None
        self._called_ns = 0  # when the callback was called last; 0: it was not yet
        self._begun_ns = 0
        # Since when it has seemed to hang, and the last call until then.
        self._suspected: tuple[int, int] | None = None
        device = _answered(lambda: self._open(kind, wanted))
        self._name = f"{device.index} {device.name!r}"
        latency_s: float = getattr(self._stream, f"get_{kind}_latency")()
        self._latency_ns = max(0, round(latency_s * 1e9))
        if self.channels > 1:
            # Now, rather than a tenth of a second into the first callback.
            import numpy as np  # noqa: F401
        self.latency_ns = self._latency_ns + self._prepare()
        self.description = (
            f"portaudio {self._name} at {self.rate} Hz"
            + (", resampled" if self.rate != pcm.RATE else "")
            + (f", {self.channels} channels" if self.channels > 1 else "")
            + f", latency {self.latency_ns / 1e6:.0f} ms"
        )

    def stop(self) -> None:
        """Close the stream and PortAudio; what was not played is not played."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        try:
            _CONTROL.do(self._session.close, _CLOSE_S)
        except TimeoutError:
            # It closes when it can, and the process can end without it.
            pass

    def failure(self) -> str | None:
        """Give None while all is well; else one line."""
        with self._lock:
            if not self._started or self._stopped:
                return self._failure
            # Looked at first: a callback that failed has said why before the stream ends.
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
            _answered(self._stream.start_stream)
        except OSError as error:
            raise DeviceError(f"portaudio {self._name} does not start: {_words(error)}") from None
        self._started = True

    def _open(self, kind: Kind, wanted: str) -> Device:
        self._session = _Session()
        try:
            device = choose(self._session.devices(kind), kind, wanted)
            self._stream, self.rate, self.channels = self._session.open(
                kind, device, self._callback
            )
        except BaseException:
            self._session.close()
            raise
        return device

    def _prepare(self) -> int:
        """Make the resampler, where one is needed; give its delay, ns."""
        raise NotImplementedError

    def _broken(self, error: Exception) -> None:
        self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")

    def _callback(
        self, data: bytes | None, frames: int, times: Mapping[str, float], status: int
    ) -> tuple[bytes | None, int]:
        raise NotImplementedError


class PortAudioInput(_Stream):
    """A microphone."""

    def __init__(self, wanted: str) -> None:
        self._lost = False
        self._resampler: Inward | None = None
        super().__init__("input", wanted)

    def _prepare(self) -> int:
        if self.rate != pcm.RATE:
            from shared.audio.resample import Inward

            self._resampler = Inward(self.rate, pcm.RATE)
        return 0

    def start(self, on_block: OnBlock) -> None:
        """Begin; DeviceError if the device does not."""
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
            # The buffer's last sample, too, was there before now.
            adc_ns = min(adc_ns, now - length_ns)
            block = data or b""
            if self._resampler is not None or self.channels > 1:
                block, shift = self._convert(block)
                adc_ns += shift
            # A resampler may have nothing to give yet: the loss is told with what it gives next.
            self._lost |= bool(status & pyaudio.paInputOverflow)
            if block:
                lost, self._lost = self._lost, False
                self._on_block(block, adc_ns, lost)
        except Exception as error:  # noqa: BLE001 - whatever the callback raises, failure() tells
            self._broken(error)
            return None, pyaudio.paAbort
        return None, pyaudio.paContinue

    def _convert(self, data: bytes) -> tuple[bytes, int]:
        """Give the block, and how many ns its first sample lies after the buffer's first."""
        import numpy as np

        samples = pcm.to_array(data)
        if self.channels > 1:
            # The first two: a device with more has its microphones there, and the others are often
            # empty or carry what the computer plays.
            pair = samples.reshape(-1, self.channels)[:, :2]
            samples = (pair.sum(axis=1, dtype=np.int32) >> 1).astype(np.int16)
        if self._resampler is None:
            return pcm.from_array(samples), 0
        made, shift = self._resampler.process(samples)
        return pcm.from_array(made), shift


class PortAudioOutput(_Stream):
    """A speaker."""

    def __init__(self, wanted: str) -> None:
        self.underflows = 0
        # Converted and not yet handed on: at most what one more sample rendered makes.
        self._left = b""
        self._resampler: Resampler | None = None
        super().__init__("output", wanted)

    def _prepare(self) -> int:
        if self.rate == pcm.RATE:
            return 0
        from shared.audio.resample import Resampler

        self._resampler = Resampler(pcm.RATE, self.rate)
        return self._resampler.delay_ns

    def start(self, render: Render) -> None:
        """Begin; DeviceError if the device does not."""
        self._render = render
        self._start()

    def warning(self) -> str | None:
        """Give None: whatever goes wrong with a sound card ends it."""
        return None

    def _callback(
        self,
        data: bytes | None,  # noqa: ARG002 - as PyAudio calls it
        frames: int,
        times: Mapping[str, float],
        status: int,
    ) -> tuple[bytes | None, int]:
        if not self._called_ns:
            _keep_thread_state()
        self._called_ns = now = time.monotonic_ns()
        try:
            if status & pyaudio.paOutputUnderflow:
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
        except Exception as error:  # noqa: BLE001 - whatever the callback raises, failure() tells
            self._broken(error)
            return bytes(frames * self.channels * pcm.SAMPLE_BYTES), pyaudio.paAbort
        return block, pyaudio.paContinue

    def _rendered(self, samples: int, dac_ns: int) -> bytes:
        block = self._render(samples, dac_ns)
        if len(block) != samples * pcm.SAMPLE_BYTES:
            raise ValueError(f"render gave {len(block)} bytes for {samples} samples")
        return block

    def _resampled(self, frames: int, dac_ns: int) -> bytes:
        resampler = self._resampler
        assert resampler is not None
        left = len(self._left) // pcm.SAMPLE_BYTES
        samples = resampler.needed(frames - left)
        block = self._left
        if samples:
            # The next output lies so far into the input, and leaves after what is left over.
            dac_ns += left * 1_000_000_000 // self.rate
            dac_ns -= round((resampler.next_input - resampler.delay) * 1e9 / pcm.RATE)
            fresh = self._rendered(samples, dac_ns)
            block += pcm.from_array(resampler.process(pcm.to_array(fresh)))
        wanted = frames * pcm.SAMPLE_BYTES
        self._left = block[wanted:]
        return block[:wanted]

    def _spread(self, block: bytes) -> bytes:
        """Put mono on the first two channels, the front pair, and silence on the others."""
        import numpy as np

        samples = pcm.to_array(block)
        frames = np.zeros((len(samples), self.channels), np.int16)
        frames[:, :2] = samples[:, None]
        return pcm.from_array(frames)


def _keep_thread_state() -> None:
    """Keep Python's state of the calling thread, which is not Python's own, as long as it lives.

    It is one more use of the state, never ended. A thread that ends leaves some kB behind.
    """
    ctypes.pythonapi.PyGILState_Ensure()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what C libraries write to stderr nowhere: ALSA tells of every device it does not find.

    File descriptor 2 is the process's own, so another thread's words are lost too, for a tenth of
    a second.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        # There is no stderr to be quiet on.
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _names(devices: Sequence[Device]) -> str:
    return ", ".join(f"{d.index} {d.name!r}" for d in devices)


def _text(name: str | bytes) -> str:
    """Give a name in one line; PyAudio leaves bytes it cannot decode to us."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return " ".join(text.split())


def _words(error: Exception | None) -> str:
    """Give PortAudio's words: PyAudio's errors hold a code and a text in either order."""
    words = [part for part in getattr(error, "args", ()) if isinstance(part, str)]
    return (words[0] if words else str(error)).replace("\n", " ")
