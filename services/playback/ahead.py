"""The audio that a device holds and has not played. Pure.

A sound card plays what it is given, so its samples count as heard at once. A page in a browser
holds some tens of ms, and gives them back at a flush. Until the page has reported that it played
them, they do not count, and they can be queued again.

A position counts the samples that the device was given since it was opened, without those that were
taken back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.playback.track import Track


@dataclass(frozen=True)
class Span:
    """Audio of one item that the device was given in one piece."""

    track: Track
    item_end: int  # where the audio ends in the item, samples from the item's start
    device_end: int  # the position where the audio ends
    pcm: memoryview  # the audio, s16le

    def rest(self, position: int) -> Span:
        """Return the part of the span from a position on, which lies in the span."""
        rest = self.pcm[(position - self.device_begin) * 2 :]
        return Span(self.track, self.item_end, self.device_end, rest)

    @property
    def item_begin(self) -> int:
        """Where the audio begins in the item, samples from the item's start."""
        return self.item_end - len(self.pcm) // 2

    @property
    def device_begin(self) -> int:
        """The position where the audio begins."""
        return self.device_end - len(self.pcm) // 2


class Ahead:
    """The audio that the device has and has not played yet. It moves the items' playheads."""

    def __init__(self) -> None:
        #: The position of the first sample that is given next.
        self.position = 0
        self._spans: deque[Span] = deque()

    @property
    def holds(self) -> bool:
        """Whether the device holds audio of an item."""
        return bool(self._spans)

    def add(self, track: Track, item_end: int, offset: int, pcm: memoryview) -> None:
        """Note audio of an item that ends ``offset`` samples after `position`."""
        self._spans.append(Span(track, item_end, self.position + offset, pcm))

    def played(self, position: int) -> None:
        """Count the samples before a position as heard."""
        spans = self._spans
        while spans and spans[0].device_end <= position:
            done = spans.popleft()
            done.track.playhead = done.item_end
        if spans and spans[0].device_begin < position:
            spans[0] = spans[0].rest(position)
            spans[0].track.playhead = spans[0].item_begin

    def take_back(self, position: int) -> list[Span]:
        """Count the samples before a position as heard; return the other ones, in order."""
        self.played(position)
        taken = list(self._spans)
        self._spans.clear()
        self.position = position
        return taken
