"""A limit for the entries that a process remembers. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


def drop_oldest(known: OrderedDict[Any, Any], most: int) -> None:
    """Drop the oldest entries until at most ``most`` are left."""
    while len(known) > most:
        known.popitem(last=False)
