"""The part of a stage that a stage's own modules use beside its loop.

``shared.stage.Stage`` has it, and so have the stand-ins of the tests and the benchmarks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from shared import messages


class Owner(Protocol):
    """A stage, as its modules see it."""

    ok: bool
    log: logging.Logger

    def publish(self, message: messages.Message) -> int:
        """Publish a message, and return its time stamp, ns."""

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once, in ``seconds``."""

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        """Add to a counter of the health, and log a warning."""
