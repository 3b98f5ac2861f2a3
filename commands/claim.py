"""The claim of a whole conversation on a bus directory: at most one is started there.

Each stage has a lock of its own. Of two conversations that are started at the same moment, each
would get the locks of some stages, and both would end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from shared import registry
from shared.directory import prepare_directory
from shared.lock import AlreadyRunning, how_to_end, take_lock

#: The name of the claim's lock.
NAME = "conversation"
#: How long to wait for a conversation that is just ending, s: after ``bargein stop`` its launcher
#: takes about a second, to let the screen write its last lines.
ENDING_S = 2.0
#: How often to try again, s.
AGAIN_S = 0.1


def claim(directory: Path, arguments: Sequence[str] = ()) -> None:
    """Claim a bus directory for as long as this process and its children live.

    ``arguments``: those of honcho. If they name stages, others may run on the bus, so nothing is
    claimed. Raises AlreadyRunning and BusError.
    """
    if set(arguments) & set(registry.PROCESSES):
        return
    directory = prepare_directory(directory)
    ends_s = time.monotonic() + ENDING_S
    while True:
        try:
            take_lock(NAME, directory)
            return
        except AlreadyRunning as running:
            if time.monotonic() > ends_s:
                raise AlreadyRunning(
                    f"a conversation is already running on {directory} (pid {running.pid}):"
                    f" {how_to_end('bargein stop')}"
                ) from None
            time.sleep(AGAIN_S)
