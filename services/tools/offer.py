"""The offer: the functions of all modules and servers under names that the server accepts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.messages import MAX_OFFER

#: The most functions that are offered, and the longest name, as the API allows them.
MAX_FUNCTIONS, MAX_NAME = 128, 64
#: The longest description, characters.
MAX_DESCRIPTION = 4000
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True)
class Tool:
    """One function of a module or of a server."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Offered:
    """One function that is offered, and whose it is."""

    name: str  # as the model sees it
    source: str
    tool: Tool

    @property
    def entry(self) -> dict[str, Any]:
        """The function's entry in ``session.tools``."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.tool.description[:MAX_DESCRIPTION],
            "parameters": {"type": "object", "properties": {}, **self.tool.parameters},
        }


def build(sources: Iterable[tuple[str, Sequence[Tool]]]) -> tuple[list[Offered], list[str]]:
    """Return the functions to offer, and a line about each that is left out.

    A name that two sources have gets the source's label in front, but for the first one.
    """
    offered: dict[str, Offered] = {}
    faults: list[str] = []
    size = 2
    for source, tools in sources:
        for tool in tools:
            name = _FORBIDDEN.sub("_", tool.name)[:MAX_NAME]
            if name in offered:
                name = _FORBIDDEN.sub("_", f"{source}_{tool.name}")[:MAX_NAME]
            found = Offered(name, source, tool)
            length = len(msgspec.json.encode(found.entry)) + 1
            if not name or name in offered:
                faults.append(f"{source}: {tool.name!r} is not offered: its name is taken")
            elif len(offered) >= MAX_FUNCTIONS:
                faults.append(f"{source}: {tool.name!r} is not offered: over {MAX_FUNCTIONS}")
            elif size + length > MAX_OFFER:
                faults.append(f"{source}: {tool.name!r} is not offered: its schema is too long")
            else:
                offered[name] = found
                size += length
    return list(offered.values()), faults
