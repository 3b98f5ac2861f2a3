"""The items of one response, and the events that open them, fill them and close them.

The order of the events is the order observed on the live service.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.emulator import plans
from services.emulator.clips import Word
from services.emulator.conversation import Conversation, Item, Timeline
from services.emulator.pacing import Event

#: The service pads the text deltas of a response to hide their lengths. Here each delta and its
#: padding together fill a multiple of this many characters.
_PADDED: Final = 16


@dataclass
class OpenItem:
    """An output item that was opened and is not closed."""

    index: int
    item: Item
    plan: plans.Part
    #: The text of the deltas sent so far.
    text: str = ""
    #: Whether all of the item was sent.
    complete: bool = False


class Output:
    """The output of one response: its items, its status and its tokens."""

    def __init__(
        self,
        response_id: str,
        request: plans.Request,
        conversation: Conversation | None,
        new_id: Callable[[str], str],
        skew_ms: int,
    ) -> None:
        """Begin without items. ``conversation`` is None if the response is out of band."""
        self.response_id = response_id
        self.request = request
        self.conversation = conversation
        self.status = "in_progress"
        #: The ``status_details`` of the response, once it has some.
        self.details: dict[str, Any] | None = None
        #: The items so far that are spoken.
        self.spoken: list[Item] = []
        #: The items so far that are complete calls of functions on MCP servers.
        self.mcp_calls: list[OpenItem] = []
        #: The items that are open, in order.
        self.open: list[OpenItem] = []
        #: The audio sent so far, in samples at 24 kHz, and the tokens of the text.
        self.sent_samples = 0
        self.text_tokens = 0
        self._items: list[Item] = []
        self._new_id = new_id
        self._skew_ms = skew_ms

    def created(self) -> Event:
        """Return the response.created."""
        return {"type": "response.created", "response": self._resource()}

    def begin(self, index: int, plan: plans.Part) -> tuple[OpenItem, list[Event]]:
        """Open the item at ``index``. Return it and the two to three events that announce it."""
        item, part = self._new_item(plan)
        opened = OpenItem(index, item, plan)
        self.open.append(opened)
        self._items.append(item)
        events = [self._event("response.output_item.added", output_index=index, item=item.wire())]
        if self.conversation is not None:
            previous = self.conversation.add(item)
            events.append(
                {
                    "type": "conversation.item.added",
                    "previous_item_id": previous,
                    "item": item.wire(),
                }
            )
        if part is not None:
            events.append(self._content(opened, "response.content_part.added", part=part))
        return opened, events

    def _new_item(self, plan: plans.Part) -> tuple[Item, dict[str, Any] | None]:
        """Return the item for a part of the plan, and its empty content part if it has one."""
        item_id = self._new_id("item")
        if isinstance(plan, plans.Call):
            head = {"id": item_id, "type": "function_call", "name": plan.name}
            head |= {"call_id": plan.call_id, "arguments": ""}
            return Item(head, "in_progress"), None
        if isinstance(plan, plans.McpCall):
            call: dict[str, Any] = {"id": self._new_id("mcp"), "type": "mcp_call"}
            call |= {"name": plan.name, "arguments": "", "server_label": plan.server_label}
            call |= {"approval_request_id": plan.request_id, "output": None, "error": None}
            return Item(call, "in_progress"), None
        if isinstance(plan, plans.McpAsk):
            asked = plan.call
            request = {"id": asked.request_id, "type": "mcp_approval_request", "name": asked.name}
            request |= {"arguments": asked.arguments, "server_label": asked.server_label}
            return Item(request, "in_progress"), None
        head = {"id": item_id, "type": "message", "role": "assistant"}
        item = Item(head, "in_progress", content=[])
        if isinstance(plan, plans.Write):
            return item, {"type": "text", "text": ""}
        item.timeline = Timeline(plan.utterance, self._skew_ms)
        self.spoken.append(item)
        if plan.phase:
            head["phase"] = plan.phase
        return item, {"type": "audio", "transcript": ""}

    # Deltas.

    def audio(self, opened: OpenItem, delta: str) -> Event:
        """Return a delta of base64 audio."""
        return self._content(opened, "response.output_audio.delta", delta=delta)

    def transcript(self, opened: OpenItem, words: Sequence[Word]) -> Event:
        """Return a delta of the transcript."""
        delta = " ".join(word.text for word in words)
        if opened.text:
            delta = f" {delta}"
        opened.text += delta
        return self._content(opened, "response.output_audio_transcript.delta", delta=delta)

    def text(self, opened: OpenItem, delta: str) -> Event:
        """Return a delta of a written item, with the padding that hides its length."""
        opened.text += delta
        self.text_tokens += 1
        padding = secrets.token_urlsafe(_PADDED)[: _PADDED - len(delta) % _PADDED]
        return self._content(opened, "response.output_text.delta", delta=delta, obfuscation=padding)

    def arguments(self, opened: OpenItem, plan: plans.Call | plans.McpCall, delta: str) -> Event:
        """Return a delta of a function call's arguments."""
        opened.text += delta
        where = {"item_id": opened.item.id, "output_index": opened.index, "delta": delta}
        if isinstance(plan, plans.McpCall):
            return self._event("response.mcp_call_arguments.delta", **where)
        return self._event("response.function_call_arguments.delta", call_id=plan.call_id, **where)

    def tokens_left(self) -> float:
        """Return the number of tokens that the response may still have."""
        limit = self.request.max_output_tokens
        if isinstance(limit, str):
            return math.inf
        return limit - plans.audio_tokens(self.sent_samples) - self.text_tokens

    # The ends of an item and of the response.

    def close(self, opened: OpenItem, status: str) -> Iterator[Event]:
        """Close an item and yield its done events, with as much content as was sent."""
        self.open.remove(opened)
        item = opened.item
        item.status = status
        if isinstance(opened.plan, plans.McpCall) and status == "completed":
            self.mcp_calls.append(opened)
        yield from self._close_content(opened)
        # A call at an MCP server is done in the conversation when it has its output.
        runs = opened in self.mcp_calls
        if self.conversation is not None and not item.deleted and not runs:
            previous = self.conversation.previous(item)
            yield {
                "type": "conversation.item.done",
                "previous_item_id": previous,
                "item": item.wire(),
            }
        yield self._event("response.output_item.done", output_index=opened.index, item=item.wire())

    def _close_content(self, opened: OpenItem) -> Iterator[Event]:
        item, plan = opened.item, opened.plan
        if isinstance(plan, plans.McpAsk):
            return
        if isinstance(plan, (plans.Call, plans.McpCall)):
            item.head["arguments"] = opened.text
            # A token of JSON is about four characters.
            self.text_tokens += math.ceil(len(opened.text) / 4)
            kind = "mcp" if isinstance(plan, plans.McpCall) else "function"
            known = {} if isinstance(plan, plans.McpCall) else {"call_id": plan.call_id}
            known |= {} if isinstance(plan, plans.McpCall) else {"name": plan.name}
            yield self._event(
                f"response.{kind}_call_arguments.done",
                item_id=item.id,
                output_index=opened.index,
                **known,
                arguments=opened.text,
            )
            return
        if isinstance(plan, plans.Say):
            yield self._content(opened, "response.output_audio.done")
            yield self._content(
                opened, "response.output_audio_transcript.done", transcript=opened.text
            )
            part = {"type": "audio", "transcript": opened.text}
            # A truncate deleted the transcript. Closing the item does not bring it back.
            truncated = item.timeline is not None and item.timeline.truncated_ms is not None
            transcript = None if truncated else opened.text
            item.content = [{"type": "output_audio", "transcript": transcript}]
            self.text_tokens += len(opened.text.split())
        else:
            yield self._content(opened, "response.output_text.done", text=opened.text)
            part = {"type": "text", "text": opened.text}
            item.content = [{"type": "output_text", "text": opened.text}]
        yield self._content(opened, "response.content_part.done", part=part)

    def close_all(self, status: str) -> Iterator[Event]:
        """Close the items that are open, end the response, and yield the events of both."""
        for opened in list(self.open):
            yield from self.close(opened, "completed" if opened.complete else "incomplete")
        yield self.end(status)

    def end(self, status: str) -> Event:
        """End the response and return its response.done."""
        self.status = status
        return {"type": "response.done", "response": self._resource()}

    # Parts of events.

    def _content(self, opened: OpenItem, kind: str, **fields: Any) -> Event:
        return self._event(
            kind, item_id=opened.item.id, output_index=opened.index, content_index=0, **fields
        )

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "response_id": self.response_id, **fields}

    def _resource(self) -> dict[str, Any]:
        active = self.status == "in_progress"
        output = {"format": self.request.format, "voice": self.request.voice}
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": self.status,
            "status_details": self.details,
            "output": [] if active else [item.wire() for item in self._items],
            "conversation_id": self.conversation.id if self.conversation else None,
            "output_modalities": [self.request.modality],
            "max_output_tokens": self.request.max_output_tokens,
            "audio": {"output": output},
            "usage": None if active else self._usage(),
            "metadata": self.request.metadata,
        }

    def _usage(self) -> dict[str, Any]:
        return self.request.usage(self.text_tokens, plans.audio_tokens(self.sent_samples))
