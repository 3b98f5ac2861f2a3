"""Processes of the harness: each ends with the process that started it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import IO

Pipe = int | IO[bytes]


def spawn(
    command: Sequence[str],
    *,
    env: dict[str, str],
    stdout: Pipe,
    stderr: Pipe,
    stdin: Pipe = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, and that does not get this one's Ctrl-C."""
    # Not with `preexec_fn`, which can deadlock in a process with threads.
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    return subprocess.Popen(
        [*prefix, *command],
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        start_new_session=True,
    )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process; kill it if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
