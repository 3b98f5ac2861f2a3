"""The words of both sides, as they are heard. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from services.monitor.records import Map
from shared import messages
from shared.realtime import words

#: The most items and characters that a new viewer gets: the last minutes of a conversation.
MOST, MOST_CHARS = 100, 100_000


@dataclass(eq=False)
class _Caption:
    said: messages.Transcript
    heard: messages.HeardItem | None = None
    changed: bool = True
    told: Map | None = None  # as the viewers have it

    def shown(self) -> Map:
        """Return the caption, with the heard words apart from those that are not heard (yet)."""
        said = self.said
        heard, unheard = words.heard_and_unheard(said, self.heard)
        return {
            "type": "caption",
            "item_id": said.item_id,
            "role": said.role,
            "final": said.final,
            "cut": bool(self.heard and self.heard.cut) and bool(unheard.strip()),
            "heard": heard,
            "unheard": unheard,
        }


class Captions:
    """The captions of the last items, the oldest first."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, _Caption] = OrderedDict()
        # The newest playhead: after a restart of monitor it can come before the words.
        self._heard: dict[str, messages.HeardItem] = {}

    def transcript(self, said: messages.Transcript) -> None:
        """Take the words of an item so far."""
        known = self._items.get(said.item_id)
        if known is None:
            self._items[said.item_id] = _Caption(said, self._heard.get(said.item_id))
            self._put_in_order(said.begun_ns)
        else:
            known.said, known.changed = said, True
        while len(self._items) > MOST or self._size() > MOST_CHARS:
            self._items.popitem(last=False)

    def heard(self, heard: messages.Heard) -> None:
        """Take playback's newest playhead."""
        self._heard = {item.item_id: item for item in heard.items}
        for item in heard.items:
            known = self._items.get(item.item_id)
            if known is not None and known.heard != item:
                known.heard, known.changed = item, True

    def changes(self) -> Iterator[Map]:
        """Yield the captions that have changed since the last call."""
        for caption, following in zip(self._items.values(), [*self._items, ""][1:], strict=True):
            if caption.changed:
                caption.changed = False
                shown = {**caption.shown(), "before": following}
                # Most playheads are within the same word as the one before.
                if shown != caption.told:
                    caption.told = shown
                    yield shown

    def all(self) -> list[Map]:
        """Return every caption."""
        return [caption.shown() for caption in self._items.values()]

    def texts(self) -> dict[str, str]:
        """Return the text of each item."""
        return {item_id: caption.said.text for item_id, caption in self._items.items()}

    def _put_in_order(self, begun_ns: int) -> None:
        """Move the items that began after the newest one behind it.

        The words of a person often come after the reply to them has begun.
        """
        known = self._items.items()
        later = [item_id for item_id, c in known if begun_ns and c.said.begun_ns > begun_ns]
        for item_id in later:
            self._items.move_to_end(item_id)

    def _size(self) -> int:
        """Return the number of characters, or 0 for a single item, which stays."""
        sizes = [len(caption.said.text) for caption in self._items.values()]
        return sum(sizes) if len(sizes) > 1 else 0
