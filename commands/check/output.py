"""The part of a program's output that says why the program has ended. Pure."""

from __future__ import annotations

import re

#: How many lines are shown at most.
LINES = 8
#: A line that names an error: "ValueError: …", "Uncaught Error: …", "error: …", "panicked at …".
ERROR = re.compile(r"^(Uncaught )?[\w.]*(Error|Exception)\b|\berror: |\bpanicked at ")


def excerpt(printed: str) -> str:
    """Return the lines of a program's output that say most about its end, to follow a colon.

    These are the last LINES lines. If none of them names an error, the lines from the last error
    on are returned instead: Node prints an error first, then where it happened, and its version at
    the end.
    """
    lines = [line[:200].rstrip() for line in printed.splitlines() if line.strip()]
    if not lines:
        return " it printed nothing"
    begin = max(0, len(lines) - LINES)
    errors = [at for at, line in enumerate(lines) if ERROR.search(line)]
    if errors:
        begin = min(begin, errors[-1])
    shown = lines[begin : begin + LINES]
    return f" {shown[0]}" if len(shown) == 1 else "".join(f"\n    {line}" for line in shown)
