"""One item's audio, as the player counts it: received, played, and heard. Pure.

All places and lengths are samples at 24 kHz, and places are counted from the item's start.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared import messages
from shared.messages import MAX_ITEM_SAMPLES

#: An item's id and the index of its content part.
Key = tuple[str, int]


@dataclass
class Track:
    """One content part of an item: its audio and its playhead."""

    key: Key
    response_id: str
    #: The item's response is outside the conversation: a flush does not end the item.
    out_of_band: bool
    #: How far the item was handed to the device.
    playhead: int = 0
    #: The first place at which some audio never came; MAX_ITEM_SAMPLES: nothing is missing.
    first_gap: int = MAX_ITEM_SAMPLES
    #: The largest known position in the item, played or not.
    received: int = 0
    #: The item has no more audio than ``received``.
    done: bool = False
    #: A flush ended the item.
    cut: bool = False
    #: A chunk did not fit into the queue. No more of the item is queued, so that the heard audio
    #: stays a beginning of it.
    overflowed: bool = False
    #: The generation of the item's last chunk.
    generation: int = 0
    #: Samples to add to a chunk's `start`, if another downlink counts from less than `received`.
    shift: int = 0
    #: How many of the item's chunks wait in the player's queue.
    queued_chunks: int = 0

    @property
    def broken(self) -> bool:
        """Whether some of the item's audio never came."""
        return self.first_gap < MAX_ITEM_SAMPLES

    @property
    def heard(self) -> int:
        """How much of the item counts as heard.

        Audio after a gap is played, but never counts: the server truncates an item to a
        beginning, and would keep the gap's words as heard.
        """
        return min(self.playhead, self.first_gap)

    @property
    def whole(self) -> bool:
        """Whether the item was heard to its end."""
        return self.done and not self.broken and self.playhead >= self.received

    def break_here(self) -> None:
        """Note that audio is missing from the present end of the item on."""
        self.first_gap = min(self.first_gap, self.received)

    def survives(self, spared_response: str) -> bool:
        """Return whether a flush leaves the item alone. ``spared_response``: "" for none."""
        return self.out_of_band or (spared_response != "" and self.response_id == spared_response)

    def place_and_note_gap(self, chunk: messages.ReplyAudio) -> int:
        """Return where a chunk's audio begins in the item, and note audio that a downlink lost."""
        if chunk.generation > self.generation and not chunk.out_of_band:
            # One downlink publishes all chunks of an item in one generation, so another downlink
            # continues the item. If it counts from less than `received`, its audio is appended.
            self.shift = max(0, self.received - chunk.start)
            if self.received:
                # The audio that came while no downlink ran is lost.
                self.break_here()
        self.generation = chunk.generation
        return chunk.start + self.shift

    def heard_item(self) -> messages.HeardItem:
        """Return the track as `heard` and `report.flush` publish it."""
        return messages.HeardItem(
            *self.key, self.heard, self.received, self.done, self.broken, self.cut
        )
