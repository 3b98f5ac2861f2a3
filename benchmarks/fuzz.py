"""A million malformed inputs: ``python -m benchmarks.fuzz [TARGET …]``.

The benchmark changes valid inputs in random places. A reader must accept the result or refuse it
with its one exception, and must not keep memory. An input that does anything else is written to a
file, whose name is printed; ``--again FILE`` tries it again.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from harness.fuzz import FILES, TARGETS, fuzz


def _peak() -> int:
    """Return the peak resident memory of this process, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument(
        "target", nargs="*", choices=[*TARGETS, []], help="what to test (default: all targets)"
    )
    parser.add_argument(
        "--inputs",
        type=int,
        default=1_000_000,
        help="the number of inputs for all targets together (default: a million)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="try only the input in this file"
    )
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    if arguments.again:
        for target in targets:
            print(f"{target}: {TARGETS[target](arguments.again.read_bytes())}")
        return 0
    try:
        for target in targets:
            fuzz(target, 1000, 0)  # Now every object that is made only once exists.
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
