"""Follows the server's events about items: messages, function calls, MCP. Pure.

The server announces an item as a part of a response, as an item of the conversation, or as both, in
any order. So each item can come more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from services.downlink import events, objects
from services.downlink.actions import Actions
from services.downlink.decisions import Decisions
from services.downlink.history import History
from services.downlink.mcp_events import McpEvents
from services.downlink.renewal import Renewal
from services.downlink.replies import Replies
from services.downlink.transcripts import Role
from shared.realtime.event_ids import ASKS, TEXTS


@dataclass
class Times:
    """The times of the event that is being read, ns."""

    received_ns: int = 0  # when link received it
    now_ns: int = 0  # when downlink reads it


class ItemEvents:
    """Adds items to the conversation, and has tools run the function calls among them."""

    def __init__(
        self,
        actions: Actions,
        replies: Replies,
        history: History,
        renewal: Renewal,
        decisions: Decisions,
        times: Times,
    ) -> None:
        self._actions = actions
        self._replies = replies
        self._history = history
        self._renewal = renewal
        self._decisions = decisions
        self._times = times
        self._calls = decisions.calls
        self.mcp = McpEvents(actions, decisions.calls)

    def item_added(self, event: events.ItemAdded) -> None:
        """Take an item of the conversation."""
        new = not self._history.knows(event.item.id)
        self._replies.item_added(event, self._times.received_ns)
        self._history.item_added(event)
        self._renewal.conversation_changed(self._times.received_ns)
        self._calls.item_added(event.item)
        self.mcp.item("", event.item, self._replies.session, done=False)
        if self._calls.ready():
            self._actions.weigh()
        if new:
            self._text_added(event.item)

    def _text_added(self, item: objects.Item) -> None:
        """Show and answer a text that uplink has put into the conversation for the person."""
        if not item.id.startswith((TEXTS, ASKS)):
            return
        if item.role == "user":
            self._calls.person_spoke(self._times.now_ns)
        if item.role in ("user", "assistant"):
            role: Role = "user" if item.role == "user" else "assistant"
            self._actions.publish(self._replies.words_final(item.id, role, item.text))
        if item.id.startswith(ASKS):
            self._actions.follow_decisions(self._decisions.text_added(self._times.now_ns))

    def item_done(self, event: events.ItemDone) -> None:
        """Take an item of the conversation that is complete."""
        if not self._history.knows(event.item.id):  # Some servers send no conversation.item.added.
            self.item_added(events.ItemAdded(event.item, event.previous_item_id))
        self._history.item_done(event)
        self.mcp.item("", event.item, self._replies.session, done=True)
        self._called(event.item)

    def output_item_added(self, event: events.OutputItemAdded) -> None:
        """Take an item of a response."""
        self._mentioned(event.response_id, event.item, done=False)
        self.mcp.item(event.response_id, event.item, self._replies.session, done=False)

    def output_item_done(self, event: events.OutputItemDone) -> None:
        """Take an item of a response that is complete."""
        self._mentioned(event.response_id, event.item, done=True)
        self.run(event.response_id, event.item)

    def run(self, response_id: str, item: objects.Item) -> None:
        """Have tools run a function call, or ask the person for an approval, once."""
        if self._replies.responses.is_out_of_band(response_id):
            return
        if item.type.startswith("mcp_"):
            self.mcp.item(response_id, item, self._replies.session, done=True)
        elif call := self._calls.complete(response_id, item, self._replies.session):
            self._actions.publish([call])

    def call_done(self, event: events.CallDone) -> None:
        """Take a function call whose arguments are complete."""
        call = objects.Item(
            event.item_id,
            "function_call",
            status="completed",
            name=event.name,
            call_id=event.call_id,
            arguments=event.arguments,
        )
        if not self._replies.responses.is_out_of_band(event.response_id):
            self._calls.announced(event.response_id, call)
        if event.name and not self._history.knows(event.item_id):
            self._mentioned(event.response_id, call, done=True)

    def _mentioned(self, response_id: str, item: objects.Item, *, done: bool) -> None:
        """Add an item of a response to the conversation, unless it is known."""
        if self._replies.responses.is_out_of_band(response_id):
            return
        if item.type == "message" and item.role is None:
            item = replace(item, role="assistant")
        self._history.mentioned(item, done=done)
        if done:
            self._called(item)

    def _called(self, item: objects.Item) -> None:
        if item.type in ("function_call", "mcp_approval_request"):
            self._renewal.function_called(self._times.received_ns)

    # the server's own MCP servers

    def mcp_began(self, event: events.McpBegan) -> None:
        """Note that the server runs a function."""
        self._renewal.function_called(self._times.received_ns)
        self.mcp.began(event, self._replies.session)

    def mcp_completed(self, event: events.McpCompleted) -> None:
        """Note that a function of the server has returned."""
        self.mcp.ended(event.item_id, self._replies.session, ok=True)

    def mcp_failed(self, event: events.McpFailed) -> None:
        """Note that a function of the server has failed."""
        self.mcp.ended(event.item_id, self._replies.session, ok=False)
