"""PortAudio: one thread that calls it, its list of devices, and opening a stream.

Only this module imports pyaudio.

PortAudio looks for devices once, when it is initialised by its first user in a process. It is
initialised again for each opening, so a device that was plugged in later is found once every other
device of the process has been stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.audio import pcm
from shared.audio.device import DeviceError, DeviceHangs, Kind
from shared.audio.jobs import JobThread, StillRunning

try:
    import pyaudio
except ImportError as error:
    raise DeviceError(
        f"no sound devices: PyAudio cannot be loaded ({error});"
        " install it, or use file:<path> or null"
    ) from None

#: The buffer that each kind asks for, in samples at 24 kHz. A speaker asks for 5.3 ms: it falls
#: silent 2 ms later than with the shortest buffer that a sound server allows (64 samples), at half
#: the cost. Values between these two and beyond are worse in one of both. A microphone asks for
#: 10 ms: a frame of 20 ms is complete just as early, at half the cost and with fewer overflows.
_BUFFER: Mapping[Kind, int] = {"input": 240, "output": 128}
#: Seconds that PortAudio may take to look for devices, and to open or start one. After that the
#: stage goes on without a device, until the sound system answers again.
_OPEN_S = 8.0
#: Seconds that a device may take to close. A device that takes longer closes in the background: a
#: stage that was asked to stop is gone after 0.8 s.
_CLOSE_S = 0.4

#: What a stream's callback returns, and the flags of its status.
CONTINUE, ABORT = pyaudio.paContinue, pyaudio.paAbort
INPUT_OVERFLOW, OUTPUT_UNDERFLOW = pyaudio.paInputOverflow, pyaudio.paOutputUnderflow

_T = TypeVar("_T")


@dataclass(frozen=True)
class Device:
    """One of PortAudio's devices, as a microphone or as a speaker."""

    index: int
    name: str
    host_api: str
    channels: int  # the most that it has
    rate: int  # its default, Hz
    latency_ms: float  # its low latency
    default: bool


def list_devices(kind: Kind) -> str:
    """Return a table of the devices of one kind, for people. A star marks the default."""
    devices = call(lambda: _devices(kind))
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
    """Return the device with an index, a name or a part of a name; the default for "".

    Raises DeviceError if no device fits, or more than one.
    """
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


#: The one thread from which PortAudio is called; only ``is_active`` is called from others.
#: PortAudio keeps counts and links in globals without a lock, and on Windows it is bound to the
#: thread that initialised it. And a sound server that hangs must not block the stage.
_THREAD = JobThread("portaudio")


def call(work: Callable[[], _T], undo: Callable[[_T], object] = lambda _: None) -> _T:
    """Call ``work`` on PortAudio's thread and return its result.

    Raises DeviceHangs if the sound system does not answer within 8 s, and what ``work`` raises. If
    ``work`` ends after that, ``undo`` gets its result.
    """
    try:
        return _THREAD.call(work, _OPEN_S, undo)
    except StillRunning as hangs:
        raise DeviceHangs(
            "the sound system does not answer: restart the sound server", hangs.over
        ) from None


def close(library: PortAudio) -> None:
    """Close PortAudio from any thread. Wait at most 0.4 s: after that it closes when it can."""
    _THREAD.finish(library.close, _CLOSE_S)


class PortAudio:
    """The initialised PortAudio, and the streams that are opened in it. Use it only in ``call``."""

    def __init__(self) -> None:
        with _silent_stderr():
            try:
                self._portaudio: Any = pyaudio.PyAudio()
            except OSError as error:
                raise DeviceError(f"PortAudio does not start: {error_text(error)}") from None

    def close(self) -> None:
        """Close PortAudio and all streams; discard audio that was not played."""
        self._portaudio.terminate()

    def devices(self, kind: Kind) -> list[Device]:
        """Return the devices that have channels of this kind."""
        try:
            default = getattr(self._portaudio, f"get_default_{kind}_device_info")()["index"]
        except OSError:
            default = -1
        title = kind.capitalize()
        devices = []
        for index in range(self._portaudio.get_device_count()):
            info: Mapping[str, Any] = self._portaudio.get_device_info_by_index(index)
            if info[f"max{title}Channels"] > 0:
                host_api = self._portaudio.get_host_api_info_by_index(info["hostApi"])
                devices.append(
                    Device(
                        index,
                        _one_line(info["name"]),
                        _one_line(host_api["name"]),
                        info[f"max{title}Channels"],
                        round(info["defaultSampleRate"]),
                        info[f"defaultLow{title}Latency"] * 1000,
                        index == default,
                    )
                )
        return devices

    def open(
        self, kind: Kind, device: Device, callback: Any, channel: int = 0
    ) -> tuple[Any, int, int]:
        """Open a stream that is not started yet; return it, its rate in Hz and its channels.

        ``channel`` is the one channel of a microphone that is wanted, counted from 1; 0 is the mix.
        Raises DeviceError if the device refuses every format.
        """
        # Try all numbers of channels at 24 kHz, and then at the device's own rate: to convert the
        # rate adds latency, to convert the channels does not.
        pair = min(2, device.channels)
        if kind == "output":
            counts = dict.fromkeys((1, pair, device.channels))
        elif not channel:
            # Asked for one channel, a sound server mixes the device's two itself: then nobody could
            # tell two channels in opposite phase from silence.
            counts = dict.fromkeys((pair, 1, device.channels))
        else:
            # Asked for fewer channels than the device has, a sound server mixes them.
            counts = dict.fromkeys((device.channels, max(channel, pair)))
        refused = None
        for rate in dict.fromkeys((pcm.RATE, device.rate)):
            frames = rate * _BUFFER[kind] // pcm.RATE
            for channels in counts:
                try:
                    with _silent_stderr():
                        stream = self._portaudio.open(
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
            f"{kind} device {device.index} {device.name!r} cannot be opened: {error_text(refused)};"
            " is it in use, or unplugged?"
        )


def error_text(error: Exception | None) -> str:
    """Return PortAudio's text in one line: PyAudio's errors hold a code and a text in any order."""
    texts = [part for part in getattr(error, "args", ()) if isinstance(part, str)]
    return (texts[0] if texts else str(error)).replace("\n", " ")


def _devices(kind: Kind) -> list[Device]:
    library = PortAudio()
    try:
        return library.devices(kind)
    finally:
        library.close()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what C libraries write to stderr: ALSA reports every device that it does not find.

    File descriptor 2 belongs to the whole process. So text that other threads write meanwhile, for
    about a tenth of a second, is lost too.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):
        # There is no stderr.
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _names(devices: Sequence[Device]) -> str:
    return ", ".join(f"{d.index} {d.name!r}" for d in devices)


def _one_line(name: str | bytes) -> str:
    """Return a name in one line. PyAudio returns bytes where it cannot decode a name."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return " ".join(text.split())
