"""The environment of stages whose server is the emulator on this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from shared import config
from shared.realtime import endpoint

#: The model that is to transcribe what the person says, if the settings name none: the screen shows
#: the words of both sides. The emulator takes any name.
TRANSCRIBES = "gpt-transcribe"


def free_port() -> int:
    """Return a port on loopback that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: config.Config) -> dict[str, str]:
    """Return this process's environment, with the emulator as the server and without the key."""
    env = {k: v for k, v in os.environ.items() if k != endpoint.KEY_VARIABLE}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    env["BARGEIN_LINK__URL"] = f"ws://127.0.0.1:{free_port()}/v1/realtime"
    env["BARGEIN_LINK__KEY_FILE"] = ""
    env["BARGEIN_LINK__RETRY_FIRST_MS"] = "50"
    env["BARGEIN_BUS__DIRECTORY"] = str(config.bus_directory(settings))
    env["BARGEIN_SESSION__GREETING"] = "Greet the person in one sentence."
    env["BARGEIN_SESSION__TRANSCRIPTION_MODEL"] = (
        settings.session.transcription_model or TRANSCRIBES
    )
    return env
