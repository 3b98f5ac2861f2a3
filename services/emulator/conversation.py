"""The conversation: its items in order, and how much of each spoken one the server has.

A spoken item has a timeline. What was sent of it grows while it is generated; what the server has
is a little less (85 ms less was observed on the live service); a truncate takes the rest away.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Final

from services.emulator import formats
from services.emulator.clips import RATE, Utterance, samples
from services.emulator.schema import Refused

ROOT: Final = "root"


@dataclass
class Timeline:
    """The audio of an item the assistant speaks."""

    utterance: Utterance
    #: How much less the server has than it sent, ms.
    skew_ms: int
    #: Samples sent so far, at 24 kHz.
    sent: int = 0
    #: Where a truncate cut it, ms.
    kept_ms: int | None = None

    @property
    def sent_ms(self) -> int:
        """What was sent of it, ms."""
        return self.sent * 1000 // RATE

    @property
    def length_ms(self) -> int:
        """What the server has of it, ms."""
        return max(self.sent_ms - self.skew_ms, 0) if self.kept_ms is None else self.kept_ms

    @property
    def heard_ms(self) -> int:
        """What the server believes was heard: all that was sent, unless it was told better."""
        return self.sent_ms if self.kept_ms is None else self.kept_ms


@dataclass
class Item:
    """An item: its fields as on the wire, and its audio."""

    #: id, type, role, name …: everything but status and content.
    head: dict[str, Any]
    status: str = "completed"
    content: list[dict[str, Any]] | None = None
    #: Audio of a user's message, 24 kHz PCM.
    audio: bytes = b""
    timeline: Timeline | None = None
    deleted: bool = False

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.head["id"])

    @property
    def role(self) -> str | None:
        """The role of a message; None for a function's call or output."""
        return self.head.get("role")

    @property
    def text(self) -> str:
        """The text in its content."""
        return " ".join(part["text"] for part in self.content or () if part.get("text"))

    def wire(self) -> dict[str, Any]:
        """Give the item as it goes out."""
        item = {**self.head, "object": "realtime.item", "status": self.status}
        if self.content is not None:
            item["content"] = [dict(part) for part in self.content]
        return item

    def wire_with_audio(self, input_format: str, output_format: str) -> dict[str, Any]:
        """Give the item as a retrieve does, with base64 audio in the session's formats."""
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
    """The items in order."""

    id: str
    items: list[Item] = field(default_factory=list)
    #: Assistant audio was sent once: the voice is fixed.
    spoken: bool = False

    def find(self, item_id: str) -> Item | None:
        """Give an item by id."""
        return next((item for item in self.items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Add an item at the end, or after another (``root``: first); give the previous one's id.

        Raises Refused if there is no such other, or an item of this id already.
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
        """Take an item out. Raises Refused."""
        item = self._found(item_id, "item_delete_invalid_item_id", "deleting")
        self.items.remove(item)
        item.deleted = True
        return item

    def retrieve(self, item_id: str) -> Item:
        """Give an item. Raises Refused."""
        return self._found(item_id, "item_retrieve_invalid_item_id", "retrieving")

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> Item:
        """Cut a spoken item's audio, and its transcript with it. Raises Refused.

        It works on an item that is still being generated, and does not stop that: what is sent
        after it is not part of the item any more. The words of the errors were observed on the
        live service; the code of the second and of the third differs between reports.
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
        timeline.kept_ms = audio_end_ms
        for part in item.content or ():
            part["transcript"] = None
        return item

    def previous(self, item: Item) -> str | None:
        """Give the id of the item before one of them; None for the first."""
        at = self.items.index(item)
        return self.items[at - 1].id if at else None

    def _found(self, item_id: str, code: str, doing: str) -> Item:
        item = self.find(item_id)
        if item is None:
            raise Refused(code, f"Error {doing} item: the item with id '{item_id}' does not exist.")
        return item


#: Fields of a client's item that are kept elsewhere than in ``Item.head``.
_BODY: Final = frozenset({"content", "status", "object"})


def created(given: dict[str, Any], item_id: str, call_ids: Container[str], kind: str) -> Item:
    """Make an item of what a client gave, checked before; ``item_id`` where it gave none.

    ``call_ids``: the calls that an output can be of. ``kind``: the format of audio in it. Raises
    Refused.
    """
    head = {key: value for key, value in given.items() if key not in _BODY}
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
        kept = dict(part)
        if part["type"] == "input_audio":
            audio += formats.Decoder(kind).decode(kept.pop("audio"), "item.content")
            kept.setdefault("transcript", None)
        elif part["type"] == "text":
            # The name of the retired beta.
            kept["type"] = "output_text"
        content.append(kept)
    return Item(head, content=content, audio=audio)
