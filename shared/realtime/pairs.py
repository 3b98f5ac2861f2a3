"""Two frames of the microphone in one event, while nobody speaks. Pure.

An event costs uplink, link and the network the same whatever is in it, and most of a conversation
is listening. While someone speaks, and for as long after it as a server takes to end a turn, each
frame goes by itself, since there 20 ms are 20 ms of an answer.
"""

from __future__ import annotations

from typing import NamedTuple

from shared import messages as m
from shared.audio import pcm

#: After speech each frame goes by itself for so long.
AFTER_NS = 2_000_000_000
#: vad says once a second whether someone speaks: one that has not for so long is not there.
GONE_NS = 3_000_000_000


class Stretch(NamedTuple):
    """What is sent as one event."""

    payload: bytes
    captured_ns: int
    frames: int


class Pairs:
    """Decides which frames are sent together. Times are monotonic ns."""

    def __init__(self) -> None:
        self._first: m.MicClean | None = None  # of a pair
        self._spoken_ns = self._heard_ns = 0  # when someone last spoke, and vad last said anything

    def speech(self, speaking: bool, now_ns: int) -> list[Stretch]:
        """Learn from vad whether someone speaks; give what is to be sent now."""
        if speaking or not self._heard_ns:
            self._spoken_ns = now_ns
        self._heard_ns = now_ns
        return self.all() if speaking else []

    def take(self, frame: m.MicClean, now_ns: int) -> list[Stretch]:
        """Take the next frame; give what is to be sent now."""
        first = self._first
        if first is not None:
            samples = len(first.payload) // pcm.SAMPLE_BYTES
            if (frame.stream, frame.position) == (first.stream, first.position + samples):
                self._first = None
                return [Stretch(first.payload + frame.payload, first.captured_ns, 2)]
        sent = self.all()
        if now_ns - self._spoken_ns > AFTER_NS and now_ns - self._heard_ns < GONE_NS:
            self._first = frame
            return sent
        return [*sent, Stretch(frame.payload, frame.captured_ns, 1)]

    def all(self) -> list[Stretch]:
        """Give what is kept, and keep nothing."""
        first, self._first = self._first, None
        return [] if first is None else [Stretch(first.payload, first.captured_ns, 1)]
