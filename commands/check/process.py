"""The stage under test as a process: start it, check that it runs, and end it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from commands.check.output import excerpt
from commands.check.rules import Broken, NotTried
from shared.realtime import endpoint

#: A stage that is asked to end may take this long, s: our own stages take at most 0.8 s.
END_S = 3.0

#: The settings that the kit gives to the stage under test, whatever config.toml says.
SETTINGS: Mapping[str, str] = {
    "BARGEIN_BUS__MACHINES": "[]",
    "BARGEIN_CAPTURE__DEVICE": "null",
    "BARGEIN_PLAYBACK__DEVICE": "null",
    "BARGEIN_PLAYBACK__CUES": "false",
    "BARGEIN_INTERRUPTION__DECIDE": "server",
    "BARGEIN_LINK__AUTH": "none",
    "BARGEIN_LINK__KEY_FILE": "",
    "BARGEIN_LINK__RETRY_FIRST_MS": "50",
    "BARGEIN_LINK__RETRY_MAX_MS": "200",
    "BARGEIN_LINK__PING_INTERVAL_S": "1.0",
    "BARGEIN_LINK__URL": "ws://127.0.0.1:9/v1/realtime",
    "BARGEIN_SESSION__GREETING": "",
}


class StageProcess:
    """The command of the stage under test, its environment, and its process.

    ``directory``: the bus directory. The output of the command goes into a file there.
    """

    #: How the kit starts a process. The kit's own tests replace this with a faster way to start our
    #: stages.
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen

    def __init__(
        self, command: Sequence[str], directory: Path, settings: Mapping[str, str]
    ) -> None:
        self.command = list(command)
        self.directory = directory
        self.env = {
            **{k: v for k, v in os.environ.items() if k != endpoint.KEY_VARIABLE},
            **SETTINGS,
            **settings,
            "BARGEIN_BUS__DIRECTORY": str(self.directory),
        }
        self.output = (self.directory / "output.txt").open("wb+")
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], output: Any = None) -> subprocess.Popen[bytes]:
        """Start a process in the bench's environment, in a process group of its own."""
        try:
            return self.popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output or self.output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise NotTried(f"{command[0]}: {error.strerror}") from None

    def start(self) -> None:
        """Start the stage under test, if it does not run. Raise Broken if it cannot be started."""
        if not self.running:
            if self.process is not None:
                end(self.process)
            try:
                self.process = self.launch(self.command)
            except NotTried as error:
                raise Broken(str(error)) from None

    @property
    def running(self) -> bool:
        """Whether the stage under test runs."""
        return self.process is not None and self.process.poll() is None

    def alive(self) -> None:
        """Raise Broken if the stage under test has ended."""
        if not self.running:
            code = self.process.returncode if self.process else "none"
            self.output.flush()
            printed = (self.directory / "output.txt").read_text("utf-8", "replace")
            raise Broken(f"the stage ended with exit code {code}:{excerpt(printed)}")


def end(process: subprocess.Popen[bytes]) -> float:
    """Ask a process to end, and kill its group if it does not. Return how long that took, s."""
    began = time.monotonic()
    group = process.pid
    try:
        os.killpg(group, signal.SIGTERM)
        process.wait(END_S)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        pass
    took = time.monotonic() - began
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
    return took
