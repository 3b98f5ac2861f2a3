"""The results of the checks, and how they are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: The width of the column with the names of the checks.
NAME = 11
#: The beginning of each line.
MARKS = {True: "ok", False: "FAULT", None: "-"}
MARK = max(map(len, MARKS.values()))


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    #: Whether all is well; None: the check was not made, and the text says why.
    ok: bool | None
    #: The finding, and for a fault also what to do.
    text: str


def line(finding: Finding) -> str:
    """Return the line for one check."""
    return f"{MARKS[finding.ok]:<{MARK}}  {finding.check:<{NAME}} {finding.text}"


def summary(findings: Iterable[Finding]) -> str:
    """Return the last line."""
    faults = [finding.check for finding in findings if finding.ok is False]
    if not faults:
        return "No fault was found."
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{count}: {', '.join(faults)}. The lines above say what to do."
