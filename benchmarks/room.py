"""Echo, vad and the judge on open loudspeakers, in simulated rooms.

    python -m benchmarks.room                          # the independent rooms
    python -m benchmarks.room --rooms computed         # fifteen rooms of our own arithmetic
    python -m benchmarks.room --only laptop --seed 2   # one row, in other rooms

The independent rooms (harness/acoustics/cases.py) are computed by pyroomacoustics, which is in the
extra `bench`. The computed rooms are those of harness/rooms.py. Use even seeds to tune, and odd
ones to judge. docs/measuring.md says what is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from harness import room
from harness.acoustics import cases, scores, table, trial, voices, without
from harness.rooms import noisy, scenes
from shared import config


def main() -> int:
    """Run the benchmark; return the exit code."""
    arguments = _arguments()
    try:
        settings = config.load(arguments).config
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.rooms == "computed":
        return _computed(arguments, settings)
    return _independent(arguments, settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--rooms",
        choices=("independent", "computed"),
        default="independent",
        help="which rooms (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="only rooms, rows or cases whose names contain this text",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed makes other rooms of the same kinds: even to tune, odd to judge",
    )
    parser.add_argument("--quick", action="store_true", help="two cases of each row")
    parser.add_argument("--cases", action="store_true", help="also print the figures of each case")
    parser.add_argument(
        "--voices",
        type=Path,
        metavar="DIR",
        help="speak with the WAV and FLAC recordings of this directory; every second file, by name,"
        " is the assistant",
    )
    parser.add_argument(
        "--without",
        choices=sorted(without.MECHANISMS),
        metavar="MECHANISM",
        help="switch off one mechanism of the canceller, and run only the row that needs it: "
        + ", ".join(sorted(without.MECHANISMS)),
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results to this file"
    )
    config.add_arguments(parser)
    return parser.parse_args()


def _independent(arguments: argparse.Namespace, settings: config.Config) -> int:
    if missing := [n for n in ("pyroomacoustics", "pystoi") if not importlib.util.find_spec(n)]:
        print(f"{' and '.join(missing)} not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    if arguments.voices:
        try:
            voices.recorded(arguments.voices)
        except voices.NoVoicesError as error:
            print(error, file=sys.stderr)
            return 2
    if arguments.without:
        try:
            without.switch_off(arguments.without)
        except without.UnknownMechanismError as error:
            print(error, file=sys.stderr)
            return 2
        mechanism = without.MECHANISMS[arguments.without]
        arguments.only = arguments.only or mechanism.row
        print(f"without {mechanism.what}:\n")
    begun = time.monotonic()
    chosen = [
        case
        for case in cases.cases(arguments.seed, quick=arguments.quick)
        if arguments.only in f"{case.row}: {case.name}"
    ]
    count = len(chosen)
    # The workers are forked, so that what was switched off here is off there.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(arguments.workers, context) as pool:
        trials = []
        for done in pool.map(trial.run, chosen, [settings] * count, [arguments.voices] * count):
            trials.append(done)
            if sys.stderr.isatty() or not len(trials) % 20:
                print(f"\r{len(trials)} of {count} cases", end="", file=sys.stderr, flush=True)
    if arguments.cases:
        print(table.text(table.EACH_HEAD, table.each(trials)), "\n")
    print(table.text(table.ROWS_HEAD, table.rows(trials)), "\n")
    print(table.text(table.NAMED_HEAD, table.named(trials)))
    use = "judging" if cases.judging(arguments.seed) else "tuning"
    minutes = sum(case.seconds for case in chosen) / 60
    cpu = sum(t.results[trial.BARGEIN].cpu for t in trials) / max(1, count)
    print(
        f"\nseed {arguments.seed} ({use}), {count} cases, {minutes:.0f} minutes of sound in"
        f" {(time.monotonic() - begun) / 60:.1f} minutes; Bargein took {cpu:.1f} % of a core"
        f"{'' if scores.aecmos() else '; AECMOS: speechmos is not installed'}"
    )
    if arguments.json:
        result = {"seed": arguments.seed, "trials": [asdict(each) for each in trials]}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def _computed(arguments: argparse.Namespace, settings: config.Config) -> int:
    chosen = [s for s in scenes(arguments.seed) if arguments.only in s.name]
    others = [s for s in noisy(arguments.seed) if arguments.only in s.name]
    with ProcessPoolExecutor(arguments.workers) as pool:
        everything = list(pool.map(room.run, chosen + others, [settings] * len(chosen + others)))
    outcomes, with_noises = everything[: len(chosen)], everything[len(chosen) :]
    figures = room.summary(outcomes, chosen) | room.client_summary(everything)
    print(room.table(outcomes))
    print(
        f"\n{figures['minutes']:.0f} minutes of the assistant:"
        f" it interrupted itself {figures['self_interruptions']} times,"
        f" and was ducked for nothing {figures['false_ducks']} times\n"
        f"{figures['barge_ins']} barge-ins: {figures['found']} found by the server,"
        f" {figures['ducked']} ducked, voice to duck {figures['voice_to_duck_median_ms']:.0f} ms"
        f" median, {figures['voice_to_duck_p95_ms']:.0f} ms p95\n"
        f"at least {figures['least_removed_linear_db']:.1f} dB removed in the linear rooms;"
        f" {figures['cpu_percent']:.1f} % of a core\n\n"
        f"{room.client_table(with_noises)}\n\n"
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
