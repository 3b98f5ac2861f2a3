# ruff: noqa: PLC0415 - what a device needs is imported when it is opened
"""Opens microphones and speakers by what the configuration calls them.

PortAudio, NumPy and the file library are imported only when a device asks for them.
"""

from __future__ import annotations

from shared.audio.device import DeviceError, InputDevice, Kind, OutputDevice


def open_input(spec: str) -> InputDevice:
    """Open what ``spec`` names: auto, portaudio:<index or part of a name>, file:<path>, null."""
    scheme, rest = _parse(spec)
    if scheme == "file":
        from shared.audio import files

        return files.file_input(rest)
    if scheme == "null":
        from shared.audio import files

        return files.null_input()
    from shared.audio import portaudio

    return portaudio.PortAudioInput(rest)


def open_output(spec: str) -> OutputDevice:
    """Open what ``spec`` names: auto, portaudio:<index or part of a name>, file:<path>, null."""
    scheme, rest = _parse(spec)
    if scheme == "file":
        from shared.audio import files

        return files.file_output(rest)
    if scheme == "null":
        from shared.audio import files

        return files.null_output()
    from shared.audio import portaudio

    return portaudio.PortAudioOutput(rest)


def list_devices(kind: Kind) -> str:
    """Give a table of PortAudio's devices, for people; a star marks the default."""
    from shared.audio import portaudio

    return portaudio.list_devices(kind)


def _parse(spec: str) -> tuple[str, str]:
    """Give a scheme and what follows it; PortAudio's default device is ``("portaudio", "")``."""
    scheme, colon, rest = spec.partition(":")
    if spec == "null":
        return "null", ""
    if scheme == "file" and rest:
        return "file", rest
    if spec == "auto" or (scheme == "portaudio" and rest.strip()):
        return "portaudio", rest.strip()
    if colon and scheme in ("file", "portaudio"):
        wanted = "path" if scheme == "file" else "device's index or a part of its name"
        raise DeviceError(f"device {spec!r}: after the colon belongs a {wanted}")
    raise DeviceError(
        f"device {spec!r} is none of: auto, portaudio:<index or part of a name>, file:<path>, null"
    )
