"""A run of the demo, which several tests examine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.pipeline import Child

#: How long the demo runs, s. The person talks over the answer at 13 s of the script, which starts
#: with capture. On a busy machine that is a second or two after the demo.
DEMO_S = 18


@dataclass
class Demonstration:
    """A run of ``bin/demo``'s program."""

    child: Child
    out: Path
    #: The file that has the log.
    log: Path
    #: The environment of each stage.
    environments: dict[str, str]
