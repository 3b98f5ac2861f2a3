"""A module of functions for tools, whose process computes for ever (``--spinning function``)."""

from __future__ import annotations

import threading


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


# As a function that was called and does not return. The benchmark's server calls none.
threading.Thread(target=spin, daemon=True).start()
