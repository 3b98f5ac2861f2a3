"""The page of a conversation: its link, and whether it is the only way to talk."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from shared import config, door
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.private import read_file

#: The addresses of a server that listens on every address.
_EVERYWHERE = ("0.0.0.0", "::")
#: The settings that make the page the microphone and the speaker.
DEVICES = {"BARGEIN_CAPTURE__DEVICE": "browser", "BARGEIN_PLAYBACK__DEVICE": "browser"}


def written_ns(directory: Path) -> int:
    """Return when a monitor wrote the page's address, ns of the wall clock; 0: none did."""
    try:
        return (directory / door.ADDRESS).stat().st_mtime_ns
    except OSError:
        return 0


def link(directory: Path, before_ns: int) -> str:
    """Return the page's address with the token; "" while no monitor serves the page.

    ``before_ns``: what ``written_ns`` was before the monitor was started. An address that has not
    been written since is that of a monitor that was killed.
    """
    path = directory / door.ADDRESS
    try:
        address = read_file(path).decode().strip()
        # Not "older than": the clock can be set back meanwhile.
        if not address or written_ns(directory) == before_ns:
            return ""
        parts = urlsplit(address)
        if parts.hostname in _EVERYWHERE:
            parts = parts._replace(netloc=f"localhost:{parts.port}")
        return urlunsplit(parts._replace(fragment=f"token={door.token(directory)}"))
    except (OSError, ValueError):
        return ""


def invitation(settings: config.Config) -> str:
    """Return what to say before the link."""
    if "browser" in (settings.capture.device, settings.playback.device):
        return "Open this page and talk:"
    return "The page:"


def is_silent(settings: config.Config) -> bool:
    """Return whether nobody can talk on this machine: it has no sound card at all.

    Only for settings that leave the choice to Bargein, and where there is a page.
    """
    if not settings.capture.device == settings.playback.device == "auto":
        return False
    if not settings.monitor.listen:
        return False
    for attempt in (devices.open_input, devices.open_output):
        try:
            attempt("auto").stop()
        except DeviceError:
            continue
        return False
    return True
