"""The environment of stages whose server is the emulator on this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from shared import config
from shared.realtime import endpoint

#: The model that transcribes the person if the settings name none. The screen shows the words of
#: both sides, so it needs a transcription. The emulator takes any name.
TRANSCRIBES = "gpt-transcribe"


def free_address() -> str:
    """Return an address on loopback where no process listens, as a URL has it.

    A machine without IPv4 has only ::1.
    """
    try:
        return f"127.0.0.1:{_free_port(socket.AF_INET, '127.0.0.1')}"
    except OSError:
        return f"[::1]:{_free_port(socket.AF_INET6, '::1')}"


def _free_port(family: socket.AddressFamily, host: str) -> int:
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def environment(settings: config.Config) -> dict[str, str]:
    """Return this process's environment, with the emulator as the server and without the key."""
    env = {k: v for k, v in os.environ.items() if k != endpoint.KEY_VARIABLE}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    env["BARGEIN_LINK__URL"] = f"ws://{free_address()}/v1/realtime"
    env["BARGEIN_LINK__KEY_FILE"] = ""
    env["BARGEIN_LINK__RETRY_FIRST_MS"] = "50"
    env["BARGEIN_BUS__DIRECTORY"] = str(config.bus_directory(settings))
    env["BARGEIN_SESSION__GREETING"] = "Greet the person in one sentence."
    env["BARGEIN_SESSION__TRANSCRIPTION_MODEL"] = (
        settings.session.transcription_model or TRANSCRIBES
    )
    return env
