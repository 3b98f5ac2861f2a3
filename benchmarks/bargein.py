"""How soon the speaker is silent after an interruption, and how exact the truncation is.

    python -m benchmarks.bargein

The benchmark measures Bargein, a typical one-process client and the device's own limit in turn, on
a private sound server. docs/measuring.md says how.

    event → silence  from the event to the first sample of silence at the speaker
    stale            sound after that silence, before the next reply
    truncate error   the audio_end_ms that the server was sent, minus what was heard
    belief           what the server believes was heard when it replies again, minus what was
                     heard; a server that was sent nothing believes all of the audio was heard
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.systems import FUNCTION, Bargein, Conditions, Device, OneProcess, Pipecat, System
from harness.ears import Ear
from harness.listening import Interruption, Listener, match
from harness.processes import end_process, spawn
from harness.pulse import SoundServer
from harness.waves import RATE
from shared import registry

#: The earliest and the latest position in a reply at which it is interrupted, s.
FIRST_S, LAST_S = 0.3, 3.0
#: A stall begins after this much of a reply (ms), and the speaker is then silent this long (ms).
STALL_AFTER_MS, STALL_MS = 300, 1000
#: Late deltas go on for this long, ms.
LATE_MS = 600
#: How long to listen after an event, s: longer than any system needs to fall silent, and longer
#: still with late deltas, which the server sends at its own pace.
LISTEN_S = 0.8
ROUNDS = 3
TONE_S = 10.0
#: How long to wait for the beginning of a reply, or for any other sound, s.
PATIENCE_S = 30.0

SYSTEMS: dict[str, Callable[[SoundServer, Conditions], System]] = {
    "device": Device,
    "bargein": Bargein,
    "one process": OneProcess,
    "pipecat": Pipecat,
}


def main() -> int:
    """Run the benchmark; return the exit code."""
    arguments = parser().parse_args()
    if why := SoundServer.unavailable():
        print(f"bargein: {why}", file=sys.stderr)
        return 1
    if "pipecat" in arguments.peer and (why := Pipecat.unavailable(arguments.peer_python)):
        print(f"bargein: --peer pipecat: {why}", file=sys.stderr)
        return 1
    names = [*(arguments.only or ("device", "bargein", "one process")), *arguments.peer]
    conditions = read_conditions(arguments)
    results: dict[str, list[Interruption]] = {name: [] for name in names}
    listener = Listener(conditions.tone_s)
    points = spread(arguments.interruptions, stalled=arguments.stall)
    print(f"{report.conditions(arguments)}; load {os.getloadavg()[0]:.1f}", flush=True)
    with busy(arguments.busy):
        for number in range(ROUNDS):
            for name in names:
                found = run(SYSTEMS[name], conditions, listener, points[number::ROUNDS])
                results[name] += found
                print(f"  round {number + 1} of {ROUNDS}: {report.line(name, found)}", flush=True)
    print(report.table(results))
    if arguments.json:
        result = {
            "conditions": asdict(conditions) | {"busy": arguments.busy},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
            "systems": {
                name: [
                    asdict(each) | {"error_ms": each.error_ms, "belief_ms": each.belief_ms}
                    for each in found
                ]
                for name, found in results.items()
            },
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.bargein",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add(
        "--interruptions",
        type=int,
        default=30,
        metavar="N",
        help="how often each system is interrupted (default 30)",
    )
    add(
        "--pace",
        type=float,
        default=4.0,
        metavar="X",
        help="the server sends audio X times as fast as it plays (default 4)",
    )
    add(
        "--stale",
        action="store_true",
        help=f"the server goes on sending deltas for {LATE_MS} ms after a cancel",
    )
    add(
        "--stall",
        action="store_true",
        help=f"the server pauses each reply, for {STALL_MS / 1000:g} s of silence",
    )
    stages = registry.PROCESSES
    spins = f"let it hang in a loop, or '{FUNCTION}' (a function of tools)"
    for name, what, known in (
        ("--stopped", "stop it (SIGSTOP)", stages),
        ("--spinning", spins, (*stages, FUNCTION)),
    ):
        text = f"name a stage of Bargein and {what}; may be given several times"
        add(name, action="append", default=[], choices=known, metavar="STAGE", help=text)
    add(
        "--stuck-watcher",
        action="store_true",
        help="run monitor, with a watcher that asks for everything and reads nothing",
    )
    add(
        "--record",
        default="",
        metavar="DIRECTORY",
        help="run the recorder, which writes the sound and the whole bus to this directory: for a"
        " full disk, a mount that holds some hundred kilobytes",
    )
    add("--busy", action="store_true", help="keep every core busy with other work")
    add(
        "--only",
        action="append",
        choices=list(SYSTEMS)[:3],
        help="measure only this system; may be given several times",
    )
    add(
        "--peer",
        action="append",
        default=[],
        choices=["pipecat"],
        help="measure this system, too",
    )
    add(
        "--peer-python",
        default=sys.executable,
        metavar="PATH",
        help="the Python in which the peer is installed",
    )
    add("--json", type=Path, metavar="FILE", help="also write every interruption to this file")
    return made


def read_conditions(arguments: argparse.Namespace) -> Conditions:
    """Return the conditions that the command line asks for."""
    stall = ""
    if arguments.stall:
        # The audio sent ahead is still played during the stall.
        ahead = round(STALL_AFTER_MS * (1 - 1 / arguments.pace))
        stall = f"{STALL_AFTER_MS}:{STALL_MS + ahead}"
    return Conditions(
        # With late deltas, the reply must still be arriving when it is interrupted.
        tone_s=max(TONE_S, (LAST_S + 2) * arguments.pace) if arguments.stale else TONE_S,
        pace=arguments.pace,
        late_ms=LATE_MS if arguments.stale else 0,
        stall=stall,
        stopped=tuple(arguments.stopped),
        spinning=tuple(arguments.spinning),
        stuck_watcher=arguments.stuck_watcher,
        record=arguments.record,
        peer_python=arguments.peer_python,
    )


def spread(count: int, *, stalled: bool) -> list[float]:
    """Return the positions at which to interrupt, in s of the reply that was heard."""
    # If there is a stall, interrupt after it.
    later = (STALL_AFTER_MS + STALL_MS) / 1000 if stalled else 0.0
    # The golden ratio spreads any number of positions evenly, away from the multiples of a block.
    return [later + FIRST_S + (LAST_S - FIRST_S) * (n * 0.6180339887 % 1) for n in range(count)]


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Keep every core busy."""
    count = os.cpu_count() or 1
    command = [sys.executable, "-c", "while True: pass"]
    nowhere = subprocess.DEVNULL
    computing = [
        spawn(command, env=dict(os.environ), stdout=nowhere, stderr=nowhere)
        for _ in range(count if wanted else 0)
    ]
    try:
        yield
    finally:
        for process in computing:
            end_process(process)


def run(
    make: Callable[[SoundServer, Conditions], System],
    conditions: Conditions,
    listener: Listener,
    points: Sequence[float],
) -> list[Interruption]:
    """Interrupt one reply of a system at each of the positions."""
    listen_s = LISTEN_S + conditions.late_ms / 1000 * max(1.0, conditions.pace)
    with SoundServer() as sound, sound.record() as ear, make(sound, conditions) as system:
        ends: list[int] = []
        events_ns = [interrupt(ear, system, point, listen_s, ends) for point in points]
        # The server writes what it believes when it replies again.
        ear.wait_for_sound(after=ends[-1], timeout=PATIENCE_S)
        # Evaluate the recording now, because its clock is most exact at its end.
        found = []
        for point, event_ns, begin, end in zip(
            points, events_ns, [0, *ends[:-1]], ends, strict=True
        ):
            each = Interruption(point, event_ns)
            listener.listen(each, ear.audio[begin:end], ear.time_of(begin))
            system.add_hops(each)
            found.append(each)
        system.settle()
        match(found, system.journal(), in_order="uplink" in conditions.stopped)
    return found


def interrupt(ear: Ear, system: System, point: float, listen_s: float, ends: list[int]) -> int:
    """Interrupt the next reply, listen, and let another begin; return the event's time, ns."""
    onset = ear.wait_for_sound(after=ends[-1] if ends else 0, timeout=PATIENCE_S)
    wait_until(ear, onset + round(point * RATE))
    event_ns = system.interrupt()
    wait_until(ear, ear.sample_at(event_ns / 1e9 + listen_s))
    ends.append(len(ear.audio))
    system.go_on()
    return event_ns


def wait_until(ear: Ear, sample: int) -> None:
    """Wait until the recording is longer than ``sample``."""
    ear.wait_for(lambda heard: len(heard) > sample, PATIENCE_S, "any more")


if __name__ == "__main__":
    sys.exit(main())
