# ruff: noqa: PLC0415 - what a device needs is imported when the device is opened
"""Opens microphones and speakers by their name in the configuration.

PortAudio, NumPy and the file library are imported only for a device that needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared.audio.device import DeviceError, InputDevice, Kind, OutputDevice

D = TypeVar("D", InputDevice, OutputDevice)


def open_input(
    spec: str, channel: int = 0, page: Callable[[], InputDevice] | None = None
) -> InputDevice:
    """Open the microphone ``spec``. Raises DeviceError.

    ``spec`` is auto, portaudio:<index or part of a name>, file:<path>, browser, or null.
    ``channel`` is the number of the one channel that is wanted, counted from 1; 0 is the mix.
    ``page`` opens a page in a browser; None: the caller serves no pages.
    """
    scheme, rest = _parse(spec)
    if scheme == "browser":
        from shared.audio import channels

        channels.check_channel(channel, 1, "browser")
        return _page_of(page)()
    if scheme == "file":
        from shared.audio import files

        return files.file_input(rest, channel)
    if scheme == "null":
        from shared.audio import channels, paced

        channels.check_channel(channel, 1, "null")
        return paced.null_input()
    from shared.audio import portaudio

    return portaudio.PortAudioInput(rest, channel)


def open_output(spec: str, page: Callable[[], OutputDevice] | None = None) -> OutputDevice:
    """Open the speaker ``spec``, which is written as for ``open_input``. Raises DeviceError."""
    scheme, rest = _parse(spec)
    if scheme == "browser":
        return _page_of(page)()
    if scheme == "file":
        from shared.audio import files

        return files.file_output(rest)
    if scheme == "null":
        from shared.audio import paced

        return paced.null_output()
    from shared.audio import portaudio

    return portaudio.PortAudioOutput(rest)


def list_devices(kind: Kind) -> str:
    """Return a table of PortAudio's devices, for people. A star marks the default."""
    from shared.audio import portaudio_library

    return portaudio_library.list_devices(kind)


def _page_of(page: Callable[[], D] | None) -> Callable[[], D]:
    if page is None:
        raise DeviceError("device 'browser' is opened by capture and playback only")
    return page


def _parse(spec: str) -> tuple[str, str]:
    """Return a scheme and what follows it: ``("portaudio", "")`` is PortAudio's default device."""
    scheme, colon, rest = spec.partition(":")
    if spec in ("null", "browser"):
        return spec, ""
    if scheme == "file" and rest:
        return "file", rest
    if spec == "auto" or (scheme == "portaudio" and rest.strip()):
        return "portaudio", rest.strip()
    if colon and scheme in ("file", "portaudio"):
        wanted = "path" if scheme == "file" else "device's index or a part of its name"
        raise DeviceError(f"device {spec!r}: after the colon belongs a {wanted}")
    raise DeviceError(
        f"device {spec!r} is none of: auto, portaudio:<index or part of a name>, file:<path>,"
        " browser, null"
    )
