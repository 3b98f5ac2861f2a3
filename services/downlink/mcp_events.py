"""Follows the server's events about its own MCP servers (``session.mcp``). Pure.

The server announces an item as a part of a response, as an item of the conversation, or as both. So
each item can come more than once, and more complete each time.
"""

from __future__ import annotations

from collections import OrderedDict

from services.downlink import events, objects
from services.downlink.actions import Actions
from services.downlink.calls import Calls
from shared.oldest import drop_oldest

#: How many items are remembered, so that a fault is reported once.
REMEMBERED = 256


class McpEvents:
    """Takes the items and the events of the server's own MCP servers."""

    def __init__(self, actions: Actions, calls: Calls) -> None:
        self._actions = actions
        self._calls = calls
        self._lists: OrderedDict[str, str] = OrderedDict()  # the server of each list of functions
        self._reported: OrderedDict[str, None] = OrderedDict()

    def item(self, response_id: str, item: objects.Item, session: int, *, done: bool) -> None:
        """Take an item. Items of other types change nothing.

        ``response_id``: the item's response; "": the conversation announces the item. ``done``: it
        will not change any more, unless it is a call that the server still runs.
        """
        if not item.type.startswith("mcp_"):
            return
        if item.type == "mcp_list_tools":
            self._lists[item.id] = item.server_label or ""
            drop_oldest(self._lists, REMEMBERED)
        elif item.type == "mcp_call":
            self._calls.mentioned(response_id, item)
        elif done and (call := self._calls.complete(response_id, item, session)):
            self._actions.publish([call])
        if trouble := objects.mcp_trouble(item):
            self._report(item.id, trouble)

    def arguments(self, event: events.McpArguments) -> None:
        """Take the arguments of a call."""
        item = objects.Item(event.item_id, "mcp_call", arguments=event.arguments)
        self._calls.mentioned(event.response_id, item)

    def began(self, event: events.McpBegan, session: int) -> None:
        """Note that the server runs a function."""
        if call := self._calls.server_runs(event.item_id, session):
            self._actions.publish([call])

    def ended(self, item_id: str, session: int, *, ok: bool) -> None:
        """Note that a function has ended, and ask for an answer to it."""
        if call := self._calls.server_ran(item_id, session, ok=ok):
            self._actions.publish([call])
            self._actions.weigh()

    def list_failed(self, event: events.McpListFailed) -> None:
        """Report that the server has no functions of an MCP server."""
        item = objects.Item(
            event.item_id, "mcp_list_tools", server_label=self._lists.get(event.item_id), error=True
        )
        self._report(event.item_id, objects.mcp_trouble(item))

    def _report(self, item_id: str, line: str) -> None:
        if item_id not in self._reported:
            self._reported[item_id] = None
            drop_oldest(self._reported, REMEMBERED)
            self._actions.report("mcp_failures", line, always=True)
