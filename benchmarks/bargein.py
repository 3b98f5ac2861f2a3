"""How soon it is silent when it is interrupted, and how truly it says what was heard.

    python -m benchmarks.bargein

Measured at the speaker, on a private sound server: Bargein, the usual one-process client and the
device's own limit, in turn, with the same emulator. Replies are a rising tone; its last stretch
before the silence tells how far the reply was heard.

The event is ``speech_started``, at the moment at which the process that holds the WebSocket had
received it. A proxy before the server makes it come at chosen points of a reply (see ``prompter``),
the same ones for all; for the device alone, it is a line on its standard input.

    event → silence  from the event to the first sample of silence at the speaker
    stale            sound after that silence, before the next reply
    truncate error   the audio_end_ms that the server was told, minus what was heard
    belief           what the server takes for heard when it replies again, minus what was heard:
                     all it has sent, where it was told nothing

Times at the speaker. The null sink is recorded from its monitor, and PulseAudio paces it by
CLOCK_MONOTONIC, which is also the clock of the events: sample n of a recording was played at
T0 + n / 24000 s. A piece of the recording, 5 ms, is handed over when the sink begins to play it,
and arrives late, never early; T0 is taken from the piece that arrived with the least delay of all,
less than a ms. It can be checked: from the first silent buffer to silence at the speaker it takes
what PortAudio promised, the device's latency. What error is left is the same for all systems.
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
from benchmarks.systems import Bargein, Conditions, Device, OneProcess, Pipecat, System
from harness.listening import Interruption, Listener, match
from harness.pulse import RATE, Ear, SoundServer, end_process, spawn
from shared import registry

#: Where in a reply it is interrupted, s: from … to.
FIRST_S, LAST_S = 0.3, 3.0
#: A stall begins when so much of a reply was sent, and the speaker is then silent for so long, ms.
STALL_AFTER_MS, STALL_MS = 300, 1000
#: The deltas that come too late come for so long, ms.
LATE_MS = 600
#: What is listened to after an event, s: longer than any of them needs to be silent; and longer
#: where late deltas may be heard, which come for so long at the server's pace.
LISTEN_S = 0.8
ROUNDS = 3
TONE_S = 10.0
#: How long a reply may take to begin, and anything else to be heard.
PATIENCE_S = 30.0

SYSTEMS: dict[str, Callable[[SoundServer, Conditions], System]] = {
    "device": Device,
    "bargein": Bargein,
    "one process": OneProcess,
    "pipecat": Pipecat,
}


def main() -> int:
    """Run the benchmark; give the exit code."""
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
    """Give the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.bargein",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--interruptions", type=int, default=30, metavar="N", help="of each system (default 30)")
    add(
        "--pace", type=float, default=4.0, metavar="X", help="the server's, × real time (default 4)"
    )
    add("--stale", action="store_true", help=f"deltas go on for {LATE_MS} ms after a cancel")
    add("--stall", action="store_true", help=f"{STALL_MS / 1000:g} s of silence in mid-reply")
    stages = (*registry.STAGES, *registry.LISTENERS)
    for name, what in (("--stopped", "stopped (SIGSTOP)"), ("--spinning", "hung in a loop")):
        text = f"a stage of Bargein that is {what}, repeatable"
        add(name, action="append", default=[], choices=stages, metavar="STAGE", help=text)
    add("--busy", action="store_true", help="every core computes for somebody else as well")
    add("--only", action="append", choices=list(SYSTEMS)[:3], help="a system, repeatable")
    add("--peer", action="append", default=[], choices=["pipecat"], help="compare with it as well")
    add(
        "--peer-python", default=sys.executable, metavar="PATH", help="the Python that has the peer"
    )
    add("--json", type=Path, metavar="FILE", help="leave every interruption there as well")
    return made


def read_conditions(arguments: argparse.Namespace) -> Conditions:
    """Give what the command line asks the systems to be put to."""
    stall = ""
    if arguments.stall:
        # What was sent ahead is still played.
        ahead = round(STALL_AFTER_MS * (1 - 1 / arguments.pace))
        stall = f"{STALL_AFTER_MS}:{STALL_MS + ahead}"
    return Conditions(
        # With late deltas, the reply must still be coming whenever it is interrupted.
        tone_s=max(TONE_S, (LAST_S + 2) * arguments.pace) if arguments.stale else TONE_S,
        pace=arguments.pace,
        late_ms=LATE_MS if arguments.stale else 0,
        stall=stall,
        stopped=tuple(arguments.stopped),
        spinning=tuple(arguments.spinning),
        peer_python=arguments.peer_python,
    )


def spread(count: int, *, stalled: bool) -> list[float]:
    """Give the points of a reply at which to interrupt, in s of what is heard of it."""
    # After the stall, where there is one.
    later = (STALL_AFTER_MS + STALL_MS) / 1000 if stalled else 0.0
    # The golden ratio spreads any number of them evenly, and none is a multiple of a block.
    return [later + FIRST_S + (LAST_S - FIRST_S) * (n * 0.6180339887 % 1) for n in range(count)]


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Keep every core computing."""
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
    """Interrupt a system at each of the points, in a reply of its own."""
    listen_s = LISTEN_S + conditions.late_ms / 1000 * max(1.0, conditions.pace)
    with SoundServer() as sound, sound.record() as ear, make(sound, conditions) as system:
        ends: list[int] = []
        events_ns = [interrupt(ear, system, point, listen_s, ends) for point in points]
        # The server says what it believes when it replies again.
        ear.wait_for_sound(after=ends[-1], timeout=PATIENCE_S)
        # Not before now, when the recording's clock is as good as it gets.
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
    """Wait for a reply, interrupt it, listen, and let the next one begin; give the event's time."""
    onset = ear.wait_for_sound(after=ends[-1] if ends else 0, timeout=PATIENCE_S)
    wait_until(ear, onset + round(point * RATE))
    event_ns = system.interrupt()
    wait_until(ear, ear.sample_at(event_ns / 1e9 + listen_s))
    ends.append(len(ear.audio))
    system.go_on()
    return event_ns


def wait_until(ear: Ear, sample: int) -> None:
    """Return when so much was recorded."""
    ear.wait_for(lambda heard: len(heard) > sample, PATIENCE_S, "any more")


if __name__ == "__main__":
    sys.exit(main())
