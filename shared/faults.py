"""A stage's report of a fault in its work, once a second and in words.

The health shows a fault for as long as it lasts. The log has one line when it begins, which says
what to do, and one line when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.owner import Owner


@dataclass(frozen=True)
class Fault:
    """Something that is wrong."""

    counter: str  # the counter of the seconds for which the fault lasted
    state: str  # for the health
    advice: str  # the log line when it begins: what to do
    over: str  # the log line when it is over


class Faults:
    """Reports the fault of one stage. The stage looks for a fault once a second."""

    def __init__(self, stage: Owner) -> None:
        self._stage = stage
        self._last: Fault | None = None

    def report(self, fault: Fault | None) -> None:
        """Report the fault that lasts now; None: there is none."""
        before, self._last = self._last, fault
        counter = fault.counter if fault is not None else ""
        goes_on = before is not None and before.counter == counter
        if before is not None and not goes_on:
            self._stage.log.info("%s", before.over)
        if fault is not None:
            self._stage.count(counter, warning="" if goes_on else fault.advice)
        self._stage.ok = fault is None

    def forget(self) -> None:
        """Forget the last fault without a log line: its device is gone."""
        self._last = None
