"""The offer: the functions of all modules and servers under names that the server accepts. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.tools.schemas import for_api
from shared.messages import MAX_OFFER

#: The most functions of a session, and the longest name, as the API allows them.
MAX_FUNCTIONS, MAX_NAME = 128, 64
#: How many functions that are left out are named in a line, and how many that are renamed.
NAMED = 5
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
    def names(self) -> tuple[str, ...]:
        """The names that a person may know the function by: the model's name can be another one."""
        return self.name, self.tool.name, f"{self.source}_{self.tool.name}"

    @property
    def entry(self) -> dict[str, Any]:
        """The function's entry in ``session.tools``."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.tool.description[:MAX_DESCRIPTION],
            "parameters": for_api(self.tool.parameters),
        }


def build(
    sources: Iterable[tuple[str, Sequence[Tool]]],
    limit: int = MAX_FUNCTIONS,
    taken: Container[str] = (),
) -> tuple[list[Offered], list[str]]:
    """Return at most ``limit`` functions to offer, and lines about those left out or renamed.

    If two sources have the same name, the second one gets its source's label in front. A name that
    is ``taken`` gets the label too.
    """
    too_many: list[str] = []
    offered: dict[str, Offered] = {}
    faults: list[str] = []
    size = 2
    for source, tools in sources:
        renamed: list[str] = []
        for tool in tools:
            name = _FORBIDDEN.sub("_", tool.name)[:MAX_NAME]
            if name in offered or name in taken:
                name = _FORBIDDEN.sub("_", f"{source}_{tool.name}")[:MAX_NAME]
            found = Offered(name, source, tool)
            length = len(msgspec.json.encode(found.entry)) + 1
            if not name or name in offered:
                faults.append(f"{source}: {tool.name!r} is not offered: its name is taken")
            elif len(offered) >= limit:
                too_many.append(tool.name)
            elif size + length > MAX_OFFER:
                faults.append(f"{source}: {tool.name!r} is not offered: its schema is too long")
            else:
                offered[name] = found
                size += length
                if name != tool.name:
                    renamed.append(f"{tool.name!r} is offered as {name!r}")
        faults += [f"{source}: {line}" for line in renamed[:NAMED]]
        if len(renamed) > NAMED:
            faults.append(f"{source}: {len(renamed) - NAMED} more have other names as well")
    if too_many:
        named = ", ".join(too_many[:NAMED]) + (", …" if len(too_many) > NAMED else "")
        faults.append(f"{len(too_many)} functions are over the API's limit of {limit}: {named}")
    return list(offered.values()), faults
