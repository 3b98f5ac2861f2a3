"""Inputs that nobody should send, by the million: ``python -m benchmarks.fuzz [TARGET …]``.

Good inputs are bent in every way: what comes out is read, or refused with the one exception that
says so, and costs no memory that lasts. An input that does anything else is written to a file and
its name is printed. ``--again FILE`` tries one once more. CONTRIBUTING.md says how to let atheris
choose the inputs.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from harness.fuzz import FILES, TARGETS, fuzz


def _peak() -> int:
    """Give the most memory that this process has had, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main() -> int:
    """Fuzz; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all (default: a million)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", type=Path, metavar="FILE", help="try the input in a file alone")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    if arguments.again:
        for target in targets:
            print(f"{target}: {TARGETS[target](arguments.again.read_bytes())}")
        return 0
    try:
        for target in targets:
            fuzz(target, 1000, 0)  # what is made once is there
            before, begun = _peak(), time.monotonic()
            counted = fuzz(target, arguments.inputs // len(targets), arguments.seed)
            took = time.monotonic() - begun
            print(
                f"{target:<7} {counted.total():>8} inputs: {counted['accepted']:>7} accepted,"
                f" {counted['refused']:>7} refused, {counted.total() / took:>7.0f} a second,"
                f" {(_peak() - before) / 1e6:.1f} MB more at the most",
                flush=True,
            )
    finally:
        for file in FILES:
            file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
