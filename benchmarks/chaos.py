"""Random faults in a running conversation: does it go on, and does every account balance?

    python -m benchmarks.chaos --faults 200 --seed 1

Each fault happens while the conversation is idle, while a reply is heard, or at the moment of a
barge-in. A stage is killed (and started again) or stopped for two seconds; the connection is
closed, reset, frozen or answered with an error; the sound server is restarted. After each fault the
person asks something, and the answer has to be heard. Replies are a rising tone. The recording
of the speaker (with ``--files``: of the file device) tells how much of each reply was heard.

    answer       from the question after the fault to the answer's first sound, minus the time that
                 this takes without a fault, s
    asked again  how often the question had to be repeated
    unbalanced   errors in the accounts: frames captured but neither sent nor counted as dropped,
                 more heard than received, an item truncated twice, the server believing that more
                 was heard than was, sound of a reply after it was cut
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence

from harness.balance import Fault
from harness.chaos import run
from harness.pulse import SoundServer


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faults", type=int, default=200, metavar="N", help="the number of faults (default 200)")
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="the seed that selects the faults and their times (default 1)",
    )
    add("--files", action="store_true", help="use file devices even if there is a sound server")
    add(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="cause only faults with this word in their names; may be given several times",
    )
    arguments = parser.parse_args()
    why = "asked for" if arguments.files else SoundServer.unavailable()
    devices = f"files ({why})" if why else "PulseAudio"
    print(
        f"{arguments.faults} faults, seed {arguments.seed}, {devices};"
        f" load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    faults, told = run(
        arguments.faults, arguments.seed, sound=not why, only=arguments.only, say=progress
    )
    print(table(faults))
    print("\n".join(told))
    return 1 if any(fault.wrong for fault in faults) else 0


def progress(fault: Fault) -> None:
    """Print a line about one fault."""
    answered = "no answer" if fault.answer_s is None else f"answer after {fault.answer_s:.2f} s"
    answered += f", at {fault.at_s:.2f} to {fault.over_s:.2f} s"
    again = f", asked again {fault.repeats} times" if fault.repeats else ""
    print(f"{fault.number:4} {fault.kind}, {fault.phase}: {answered}{again}", flush=True)
    for line in fault.wrong:
        print(f"       {line}", flush=True)


def table(faults: Sequence[Fault]) -> str:
    """Return the figures by kind of fault."""
    rows = [f"\n{'':24}{'count':>6}{'answer, s':>18}{'asked':>8}{'un-':>10}"]
    rows.append(f"{'':24}{'':>6}{'median':>9}{'worst':>9}{'again':>8}{'balanced':>10}")
    kinds = Counter(fault.kind for fault in faults)
    for kind in sorted(kinds):
        found = [fault for fault in faults if fault.kind == kind]
        times = [fault.answer_s for fault in found if fault.answer_s is not None]
        median = f"{max(0.0, statistics.median(times)):.2f}" if times else "–"
        worst = f"{max(0.0, *times):.2f}" if times else "–"
        repeats, wrong = sum(f.repeats for f in found), sum(len(f.wrong) for f in found)
        rows.append(f"{kind:24}{len(found):6}{median:>9}{worst:>9}{repeats:8}{wrong:10}")
    for fault in faults:
        rows += [f"  {fault.number} {fault.kind}, {fault.phase}: {line}" for line in fault.wrong]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
