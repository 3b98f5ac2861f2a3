"""``python -m services.emulator``: run the server until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from services.emulator.clips import VoiceError
from services.emulator.options import BadOption, Options, parse
from services.emulator.server import Emulator, busy, describe
from shared import parent

log = logging.getLogger("emulator")

#: Exit codes: asked to stop; cannot go on; bad command line.
DONE, FAILED, BAD_OPTIONS = 0, 1, 2
#: Gone this long after being asked to stop, even if something hangs, s.
SHUTDOWN_S = 0.8


def main(argv: Sequence[str]) -> int:
    """Run with these arguments until asked to stop; give the exit code."""
    try:
        options = parse(argv)
    except BadOption as error:
        print(f"emulator: {error}", file=sys.stderr)
        return BAD_OPTIONS
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s.%(msecs)03d emulator  %(message)s",
        datefmt="%H:%M:%S",
    )
    # The library tells of every connection, and of each one that broke off with a traceback.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    return asyncio.run(_run(options))


async def _run(options: Options) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    watched = None if parent.stays() else parent.Parent()
    ends = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    for number in ends:
        loop.add_signal_handler(number, asked.set)
    try:
        emulator = Emulator(options)
    except BadOption as error:
        print(f"emulator: {error}", file=sys.stderr)
        return BAD_OPTIONS
    except VoiceError as error:
        log.error("%s", error)
        return FAILED
    except OSError as error:
        log.error("--journal %s: %s: give another file", options.journal, error.strerror)
        return FAILED
    try:
        await emulator.start()
    except OSError as error:
        log.error("%s", busy(error, options))
        return FAILED
    # whoever tests a client asks what the conversations hold
    loop.add_signal_handler(signal.SIGUSR1, emulator.tell)
    for line in describe(emulator):
        log.info("%s", line)
    if watched is not None:
        await _watch(watched, asked)
    await asked.wait()
    log.info("stops")
    try:
        await asyncio.wait_for(emulator.stop(), SHUTDOWN_S)
    except TimeoutError:
        log.warning("a client did not let go in time")
    return DONE


async def _watch(watched: parent.Parent, asked: asyncio.Event) -> None:
    """Wait for the end; ask for it when the process that started this one is gone or stopped."""
    while not asked.is_set():
        if reason := watched.lost():
            log.warning("%s", reason)
            asked.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), parent.LOOK_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
