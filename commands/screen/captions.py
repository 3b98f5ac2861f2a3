"""The words of both sides as they are heard. Pure.

Downlink publishes the words of a reply as they come, which is long before they are heard. Playback
publishes how far each item was heard. A caption puts the two together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from shared import messages
from shared.realtime import words

#: How many captions are remembered. The oldest is forgotten first. A session's last items are
#: enough: an older item does not change any more.
REMEMBERED = 64
#: How long an interruption waits for the last words of its reply, s.
CUT_S = 0.5


@dataclass(frozen=True)
class Caption:
    """The words of one item."""

    item_id: str
    role: Literal["user", "assistant"]
    #: The words that were said, or heard, so far.
    text: str
    #: Assistant only: the words that will not be heard, because the reply was cut off.
    unheard: str = ""
    #: Whether the caption is complete.
    over: bool = False


class Cuts:
    """Holds an interruption until the last words of its reply are known.

    Both are published at once, by two stages.
    """

    def __init__(self) -> None:
        self._held: list[tuple[messages.Interruption, float]] = []  # each with its limit, s

    def take(self, record: messages.Interruption, now_s: float) -> None:
        """Take an interruption."""
        self._held.append((record, now_s + CUT_S))

    def due(self, captions: Captions, now_s: float) -> list[messages.Interruption]:
        """Return the interruptions to show now."""
        due = [
            record
            for record, until_s in self._held
            if now_s > until_s or captions.are_over({report.item_id for report in record.reports})
        ]
        self._held = [held for held in self._held if held[0] not in due]
        return due


@dataclass
class _Item:
    """The last messages about one item."""

    said: messages.Transcript | None = None
    audio: messages.HeardItem | None = None


class Captions:
    """The captions of the last items."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._captions: dict[str, Caption] = {}  # as last returned

    def transcript(self, said: messages.Transcript) -> list[Caption]:
        """Take an item's words. Return the caption that this changes, if it does."""
        item = self._item(said.item_id)
        item.said = said
        return self._changed([said.item_id])

    def heard(self, heard: messages.Heard) -> list[Caption]:
        """Take the playhead. Return the captions that this changes."""
        changed = []
        for audio in heard.items:
            item = self._item(audio.item_id)
            if item.audio != audio:
                item.audio = audio
                changed.append(audio.item_id)
        return self._changed(changed)

    def are_over(self, item_ids: Iterable[str]) -> bool:
        """Return whether these items' captions do not change any more."""
        return all(i in self._captions and self._captions[i].over for i in item_ids)

    def _item(self, item_id: str) -> _Item:
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item()
            while len(self._items) > REMEMBERED:
                forgotten, _ = self._items.popitem(last=False)
                self._captions.pop(forgotten, None)
        return item

    def _changed(self, item_ids: list[str]) -> list[Caption]:
        found = []
        for item_id in item_ids:
            caption = _caption(item_id, self._items[item_id])
            before = self._captions.get(item_id)
            # A caption that is over does not begin again: downlink publishes a final text more than
            # once.
            if caption is None or caption == before or (before and before.over):
                continue
            self._captions[item_id] = caption
            found.append(caption)
        return found


def _caption(item_id: str, item: _Item) -> Caption | None:
    """Return an item's caption; None while none of its words were said or heard."""
    said, audio = item.said, item.audio
    if said is None:
        return None
    text, unheard = words.heard_and_unheard(said, audio)
    if said.role == "user":
        return Caption(item_id, "user", text, over=said.final)
    if said.heard or said.unheard:
        return Caption(item_id, "assistant", text, unheard, over=said.final or bool(unheard))
    if audio is None:
        return Caption(item_id, "assistant", text, over=said.final) if said.written else None
    over = audio.whole and said.final
    return Caption(item_id, "assistant", text, over=over) if text or over else None
