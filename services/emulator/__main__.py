"""``python -m services.emulator``: run the emulator until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from services.emulator.arguments import parse
from services.emulator.clips import VoiceError
from services.emulator.options import BadOption, Options
from services.emulator.server import Emulator
from shared import parent, signals
from shared.printable import OneLine, filter_output

log = logging.getLogger("emulator")

#: Exit codes: asked to stop; cannot go on; bad command line.
DONE, FAILED, BAD_OPTIONS = 0, 1, 2
#: Time to close the connections after a signal, s. After it the process ends even if a client
#: does not answer the close: a launcher waits about a second before it kills a process.
SHUTDOWN_S = 0.8


def main(argv: Sequence[str]) -> int:
    """Run with these arguments until a signal arrives, and return the exit code."""
    filter_output()
    try:
        options = parse(argv)
    except BadOption as error:
        print(f"emulator: {error}", file=sys.stderr)
        return BAD_OPTIONS
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s.%(msecs)03d emulator %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    # The library logs every connection, and a traceback for each connection that breaks.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    return asyncio.run(_run(options))


async def _run(options: Options) -> int:
    asked_to_stop = asyncio.Event()
    watched = parent.to_watch()
    for number in signals.ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    try:
        emulator = Emulator(options)
        await emulator.start()
    except BadOption as error:
        print(f"emulator: {error}", file=sys.stderr)
        return BAD_OPTIONS
    except VoiceError as error:
        log.error("%s", error)
        return FAILED
    except OSError as error:
        log.error("%s", _explain(error, options))
        return FAILED
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, emulator.journal_conversations)
    for line in describe(emulator):
        log.info("%s", line)
    if watched is not None:
        await _watch(watched, asked_to_stop)
    await asked_to_stop.wait()
    log.info("stops")
    try:
        await asyncio.wait_for(emulator.stop(), SHUTDOWN_S)
    except TimeoutError:
        log.warning("a client did not close its connection within %g s", SHUTDOWN_S)
    return DONE


async def _watch(watched: parent.Parent | parent.Terminal, asked_to_stop: asyncio.Event) -> None:
    """Wait until the event is set; set it when the process that started this one is gone."""
    while not asked_to_stop.is_set():
        if reason := watched.lost():
            log.warning("%s", reason)
            asked_to_stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asked_to_stop.wait(), parent.LOOK_S)


def describe(emulator: Emulator) -> list[str]:
    """Return the first lines of the log: the address, the replies, and the faults."""
    options = emulator.options
    faults = options.faults.describe()
    faults += [f"twist {name}" for name in options.twists]
    if options.cycle_deltas:
        faults.append("odd-sized deltas")
    if options.expire_s != Options.expire_s:
        faults.append(f"sessions expire after {options.expire_s:g} s")
    pace = f"{options.pace:g}× real time" if options.pace else "all at once"
    keys = f"one of {len(options.keys)} keys" if options.keys else "any key, or none"
    return [
        f"listens at {emulator.url}, accepts {keys}",
        f"replies with {options.reply}, sent {pace}; faults: {'; '.join(faults) or 'none'}",
        "waits for a client to connect",
    ]


def _explain(error: OSError, options: Options) -> str:
    """Return one line for a journal that cannot be written, or an address that is taken."""
    if options.journal is not None and error.filename is not None:
        return f"--journal {options.journal}: {error.strerror}: name another file"
    host, port = options.address
    return (
        f"cannot listen at {host}:{port}: {error.strerror or error}: stop the program that listens"
        f" there, or choose another port with --url ws://{host}:{port + 1}{options.path}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
