"""Echo, vad and the judge on open loudspeakers, in simulated rooms.

    python -m benchmarks.room

The assistant speaks for half an hour in fifteen rooms (harness/rooms.py), and a person talks over
it sixty times. The sound goes through the classes that echo and vad run, with frames, time stamps
and waits like those of devices. A server's turn detection (the emulator's, with its defaults)
listens to the result: whatever it hears while nobody speaks would have interrupted the assistant by
its own voice. The client's judgement (`interruption.decide = "client"`) gets the same sound, and in
six more rooms twenty noises each (harness/noises.py), which must end no sentence and leave nothing
in the conversation.

"Voice to duck" runs from the microphone's sample at which the person's voice begins to the
speaker's first ducked sample: detection, the devices' buffers, and 2 ms for the bus. `--set
echo.enabled=false` shows the same rooms without the canceller.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from harness.room import client_summary, client_table, run, summary, table
from harness.rooms import (
    noisy,
    scenes,
)
from shared import config


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results to this file"
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only rooms whose names contain this text"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the seed of the rooms: another seed makes other rooms of the same kinds",
    )
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments).config
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    chosen = [s for s in scenes(arguments.seed) if arguments.only in s.name]
    others = [s for s in noisy(arguments.seed) if arguments.only in s.name]
    with ProcessPoolExecutor(2) as pool:
        everything = list(pool.map(run, chosen + others, [settings] * len(chosen + others)))
    outcomes, with_noises = everything[: len(chosen)], everything[len(chosen) :]
    figures = summary(outcomes, chosen) | client_summary(everything)
    print(table(outcomes))
    print(
        f"\n{figures['minutes']:.0f} minutes of the assistant:"
        f" it interrupted itself {figures['self_interruptions']} times,"
        f" and was ducked for nothing {figures['false_ducks']} times\n"
        f"{figures['barge_ins']} barge-ins: {figures['found']} found by the server,"
        f" {figures['ducked']} ducked, voice to duck {figures['voice_to_duck_median_ms']:.0f} ms"
        f" median, {figures['voice_to_duck_p95_ms']:.0f} ms p95\n"
        f"at least {figures['least_removed_linear_db']:.1f} dB removed in the linear rooms;"
        f" {figures['cpu_percent']:.1f} % of a core\n\n"
        f"{client_table(with_noises)}\n\n"
        f"when the client decides: of {figures['client_barge_ins']} barge-ins"
        f" {figures['client_found']} interrupted; of {figures['noises']} noises,"
        f" {figures['noticed']} of which ducked the assistant, {figures['for_nothing']}\n"
        f"(and {figures['left']} items without a person were left in the conversation)"
    )
    if arguments.json:
        result = {"summary": figures, "rooms": [asdict(o) for o in everything]}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
