"""The conversation: its items in order, and how much of each spoken item the server has.

A spoken item has a timeline. The audio that was sent grows while the item is generated. The length
that the server takes the item to have is a little shorter (85 ms on the live service). A truncate
shortens the item.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Final

from services.emulator import formats
from services.emulator.clips import RATE, Utterance, samples
from services.emulator.schema import Refused

#: The ``previous_item_id`` that puts an item first.
ROOT: Final = "root"


@dataclass
class Timeline:
    """The audio of an item that the assistant speaks."""

    utterance: Utterance
    #: How much shorter the server takes the item to be than the audio it sent, ms.
    skew_ms: int
    #: Samples sent so far, at 24 kHz.
    sent: int = 0
    #: The length that the last truncate left, ms; None if there was no truncate.
    truncated_ms: int | None = None

    @property
    def sent_ms(self) -> int:
        """The length of the audio sent so far, ms."""
        return self.sent * 1000 // RATE

    @property
    def length_ms(self) -> int:
        """The length that the server takes the item to have, ms."""
        if self.truncated_ms is not None:
            return self.truncated_ms
        return max(self.sent_ms - self.skew_ms, 0)

    @property
    def heard_ms(self) -> int:
        """How much the server believes was heard, ms: all that was sent, or up to a truncate."""
        return self.sent_ms if self.truncated_ms is None else self.truncated_ms


@dataclass
class Item:
    """An item: its fields as on the wire, and its audio."""

    #: All fields but ``status`` and ``content``: id, type, role, name and so on.
    head: dict[str, Any]
    status: str = "completed"
    content: list[dict[str, Any]] | None = None
    #: The audio of a user's message, PCM at 24 kHz.
    audio: bytes = b""
    timeline: Timeline | None = None
    deleted: bool = False

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.head["id"])

    @property
    def role(self) -> str | None:
        """The role of a message; None for a function call and its output."""
        return self.head.get("role")

    @property
    def text(self) -> str:
        """The text in the item's content."""
        return " ".join(part["text"] for part in self.content or () if part.get("text"))

    def wire(self) -> dict[str, Any]:
        """Return the item as events contain it. The items of MCP have no status."""
        if self.head["type"].startswith("mcp_"):
            return dict(self.head)
        item = {**self.head, "object": "realtime.item", "status": self.status}
        if self.content is not None:
            item["content"] = [dict(part) for part in self.content]
        return item

    def wire_with_audio(self, input_format: str, output_format: str) -> dict[str, Any]:
        """Return the item as the answer to a retrieve contains it: with audio, in these formats."""
        item = self.wire()
        for part in item.get("content", ()):
            if part["type"] == "input_audio":
                part["audio"] = formats.encode_base64(self.audio, input_format)
            elif part["type"] == "output_audio" and self.timeline is not None:
                stop = min(samples(self.timeline.length_ms), self.timeline.sent)
                pcm = self.timeline.utterance.read(0, stop)
                part["audio"] = formats.encode_base64(pcm, output_format)
        return item


@dataclass
class Conversation:
    """The items of a conversation, in order."""

    id: str
    items: list[Item] = field(default_factory=list)
    #: Whether assistant audio was ever sent, so that the voice is fixed.
    spoken: bool = False

    def find(self, item_id: str) -> Item | None:
        """Return the item with this id, or None."""
        return next((item for item in self.items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Add an item and return the id of the item before it, or None if it is first.

        ``after`` is the id of the item before it, "root" for the first place, or None for the last
        place. Raises Refused if ``after`` is unknown or if the new item's id is in use.
        """
        if self.find(item.id) is not None:
            raise Refused(
                "item_create_invalid_item_id",
                f"Error adding item: an item with id '{item.id}' already exists.",
            )
        at = len(self.items)
        if after == ROOT:
            at = 0
        elif after is not None:
            before = self._found(after, "item_create_invalid_previous_item_id", "adding")
            at = self.items.index(before) + 1
        self.items.insert(at, item)
        return self.items[at - 1].id if at else None

    def delete(self, item_id: str) -> Item:
        """Remove an item and return it. Raises Refused if it does not exist."""
        item = self._found(item_id, "item_delete_invalid_item_id", "deleting")
        self.items.remove(item)
        item.deleted = True
        return item

    def retrieve(self, item_id: str) -> Item:
        """Return an item. Raises Refused if it does not exist."""
        return self._found(item_id, "item_retrieve_invalid_item_id", "retrieving")

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> Item:
        """Shorten a spoken item and delete its transcript. Return the item. Raises Refused.

        A truncate does not stop an item that is still being generated; the audio sent after the
        truncate is not part of the item. The error texts were observed on the live service. Reports
        differ about the codes of the second and of the third error.
        """
        item = self.find(item_id)
        if item is None:
            raise Refused(
                "item_truncate_invalid_item_id", f"Item with item_id not found: {item_id}"
            )
        timeline = item.timeline
        if timeline is None or timeline.sent == 0:
            raise Refused(None, "Only model output audio messages can be truncated")
        if content_index != 0:
            raise Refused(
                "invalid_value",
                f"Item has no content at index {content_index}.",
                "content_index",
            )
        if audio_end_ms > timeline.length_ms:
            raise Refused(
                "invalid_value",
                f"Audio content of {timeline.length_ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        timeline.truncated_ms = audio_end_ms
        for part in item.content or ():
            part["transcript"] = None
        return item

    def previous(self, item: Item) -> str | None:
        """Return the id of the item before ``item``, or None if ``item`` is first."""
        at = self.items.index(item)
        return self.items[at - 1].id if at else None

    def _found(self, item_id: str, code: str, doing: str) -> Item:
        item = self.find(item_id)
        if item is None:
            raise Refused(code, f"Error {doing} item: the item with id '{item_id}' does not exist.")
        return item


#: Fields of a client's item that do not belong into ``Item.head``.
_BODY: Final = frozenset({"content", "status", "object"})


def created(given: dict[str, Any], item_id: str, call_ids: Container[str], kind: str) -> Item:
    """Return the item that a client described; ``events`` has checked the description.

    ``item_id`` is the id of an item that the client gave none. ``call_ids`` are the function calls
    that an output can belong to. ``kind`` is the format of the audio in the item. Raises Refused.
    """
    head = {key: value for key, value in given.items() if key not in _BODY and value is not None}
    head.setdefault("id", item_id)
    if given["type"] == "function_call":
        head.setdefault("call_id", item_id.replace("item", "call", 1))
    if given["type"] == "function_call_output" and given["call_id"] not in call_ids:
        raise Refused(
            "invalid_tool_call_id",
            f"Tool call ID '{given['call_id']}' not found in conversation.",
            "item.call_id",
        )
    if given["type"] != "message":
        return Item(head)
    content, audio = [], b""
    for part in given["content"]:
        new_part = {key: value for key, value in part.items() if value is not None}
        if part["type"] == "input_audio":
            audio += formats.Decoder(kind).decode(new_part.pop("audio"), "item.content")
            new_part.setdefault("transcript", None)
        elif part["type"] == "text":
            # The type's name in the retired beta API.
            new_part["type"] = "output_text"
        content.append(new_part)
    return Item(head, content=content, audio=audio)
