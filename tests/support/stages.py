"""The types of the fixtures that open a stage, and that run one as a command."""

from __future__ import annotations

from collections.abc import Callable

from shared.stage import Stage

#: Opens the stage with this name on the bus of the test.
Open = Callable[[str], Stage]
#: Runs a stage as a command: its arguments are those of the command line.
Run = Callable[..., int]
