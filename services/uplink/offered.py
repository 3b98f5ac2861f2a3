"""The functions that uplink offers to the server, without those that the server refuses. Pure.

A server discards an update as a whole because of one function. If its error does not say which
function it refuses, each function is sent alone once, and the server's errors say it.

Each update carries a digest of its functions. So what the server refused stays known to an uplink
that is restarted, and a function that has changed is offered again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.uplink import requests
from shared.messages import RefusedTools
from shared.realtime.event_ids import AGAIN

Tool = Mapping[str, Any]


class OfferedTools:
    """The list for ``session.tools``: MCP servers of the server, and functions."""

    def __init__(self, servers: Sequence[Tool]) -> None:
        self._servers = list(servers)
        self._tools: list[Tool] = list(servers)
        self._refused: Sequence[RefusedTools] = ()
        self._sent: str | None = None  # the digest of the last update; None: none in this session
        # The functions that were refused in any list, by their digest, with the reason: each other
        # list is offered without them at once.
        self._bad: dict[str, str] = {}
        self._tried_alone: set[str] = set()  # updates whose functions were sent alone

    def offer(self, functions: Sequence[Tool]) -> list[bytes]:
        """Take the functions that the model may call. Return the updates for an open session."""
        self._tools = [*self._servers, *functions]
        return self._updates()

    def refuse(self, refused: Sequence[RefusedTools]) -> list[bytes]:
        """Take the server's refusals. Return the updates for a session that got some before."""
        self._refused = refused
        return [] if self._sent is None else self._updates()

    def begin_session(self) -> list[bytes]:
        """Return the updates for a new session."""
        self._sent = None
        return self._updates()

    def troubles(self) -> dict[str, str]:
        """Return the reason of each refusal by the function's name; "" stands for all of them."""
        left, refused = self._split()
        found = {_name(tool): reason for tool, reason in refused}
        last = f"{_digest(left)}{AGAIN}"
        for each in self._refused:
            if each.update == last:
                found[""] = each.reason
        return found

    def _updates(self) -> list[bytes]:
        """Return the updates after which the server has the functions that it takes."""
        tools, _ = self._split()
        digest = _digest(tools)
        updates = []
        if any(each.update == digest for each in self._refused):
            if digest in self._tried_alone or not tools:
                return []
            self._tried_alone.add(digest)
            updates = [requests.tools([tool], _digest([tool])) for tool in tools]
            updates.append(requests.tools(tools, f"{digest}{AGAIN}"))
        elif digest != self._sent and (tools or self._sent is not None):
            updates.append(requests.tools(tools, digest))
        self._sent = digest
        return updates

    def _split(self) -> tuple[list[Tool], list[tuple[Tool, str]]]:
        """Return the functions that the server takes, and the others with its reason."""
        known = {each.update: each for each in self._refused}
        left = list(self._tools)
        # First pass: the list as it was first sent. Second: without the functions known to be bad.
        for _ in range(2):
            while (found := known.get(_digest(left))) is not None and 0 <= found.index < len(left):
                self._bad[_digest([left.pop(found.index)])] = found.reason
            for digest in map(_digest, ([tool] for tool in left)):
                if digest in known:
                    self._bad[digest] = known[digest].reason
            left = [tool for tool in left if _digest([tool]) not in self._bad]
        reasons = ((tool, self._bad.get(_digest([tool]))) for tool in self._tools)
        refused = [(tool, reason) for tool, reason in reasons if reason is not None]
        return left, refused


def _digest(tools: Sequence[Tool]) -> str:
    return hashlib.blake2b(msgspec.json.encode(tools), digest_size=8).hexdigest()


def _name(tool: Tool) -> str:
    return str(tool.get("name") or tool.get("server_label") or tool.get("type"))
