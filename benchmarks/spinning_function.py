"""A module of functions for tools, whose process computes for ever (``--spinning function``)."""

from __future__ import annotations

import threading


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


# Spin without being called: the benchmark's server calls no function.
threading.Thread(target=spin, daemon=True).start()
