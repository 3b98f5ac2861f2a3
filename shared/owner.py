"""The part of a stage that a stage's own modules use beside its loop.

``shared.stage.Stage`` has it. So has the stand-in in ``harness/owner.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from shared import messages
from shared.config import Config


class Owner(Protocol):
    """A stage, as its modules see it."""

    ok: bool  # False: the stage cannot do its work now
    state: str  # one line for people, which the health repeats
    log: logging.Logger
    config: Config
    directory: Path  # the bus directory

    def publish(self, message: messages.Message) -> int:
        """Publish a message, and return its time stamp, ns."""

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once, after ``seconds``."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add to a counter of the health, and log a warning."""

    def stop(self) -> None:
        """End the stage."""
