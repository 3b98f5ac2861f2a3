"""When the next piece of a response is due, and how long it is; and what comes too late."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, repeat
from typing import Any, Final

from services.emulator import formats
from services.emulator.clips import RATE, Utterance
from services.emulator.options import Options
from services.emulator.plans import ASSISTANT_TOKENS_S

Event = dict[str, Any]
#: A due time in seconds, to wait for, or an event to send.
Step = float | Event

_DELTAS: Final = (
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_text.delta",
)


class Clock:
    """When the next piece of a response is due, and how many bytes it has."""

    def __init__(self, start: float, options: Options) -> None:
        """Count from the first delta, at ``start`` in s."""
        self._start = start
        self._pace = options.pace
        self._stall = options.faults.stall
        sizes = options.delta_bytes
        self._sizes = cycle(sizes) if options.cycle_deltas else chain(sizes, repeat(sizes[-1]))
        self._sent_s = 0.0

    def due(self) -> float:
        """Give when what comes after all that was sent is due, s."""
        due = self._start + (self._sent_s / self._pace if self._pace else 0.0)
        if self._stall and self._sent_s * 1000 >= self._stall.after_ms:
            due += self._stall.for_ms / 1000
        return due

    def sent(self, seconds: float) -> None:
        """Count so much audio as sent."""
        self._sent_s += seconds

    def next_size(self) -> int:
        """Give the bytes of the next delta."""
        return next(self._sizes)


class Wire:
    """An utterance as bytes in a wire format, up to a limit of tokens."""

    def __init__(self, utterance: Utterance, kind: str, tokens: float) -> None:
        self._utterance = utterance
        self.bytes_per_s = formats.BYTES_PER_S[kind]
        # G.711 is made from the whole at once, because it is resampled; PCM is read as it is sent.
        self._encoded: bytes | None = None
        self.full_length = 2 * utterance.samples
        if kind != "audio/pcm":
            self._encoded = formats.encode(utterance.read(0, utterance.samples), kind)
            self.full_length = len(self._encoded)
        limit = max(tokens, 0) * self.bytes_per_s / ASSISTANT_TOKENS_S
        # A limit in tokens is a limit in whole samples.
        self.length = self.full_length if limit >= self.full_length else int(limit) & ~1

    def read(self, start: int, stop: int) -> bytes:
        """Give bytes ``start`` to ``stop``, which may fall in mid-sample."""
        stop = min(stop, self.length)
        if self._encoded is not None:
            return self._encoded[start:stop]
        first = start // 2
        pcm = self._utterance.read(first, (stop + 1) // 2)
        return pcm[start - 2 * first : stop - 2 * first]

    def samples(self, length: int) -> int:
        """Give how many whole samples at 24 kHz so many bytes are."""
        return min(length * RATE // self.bytes_per_s, self._utterance.samples)


class Stale:
    """The deltas a cancelled response would still have sent."""

    def __init__(self, rest: Iterator[Step], due: float | None, items: set[str]) -> None:
        self._rest = rest
        self._due = due
        self._items = items

    def deltas(self, until: float) -> Iterator[Step]:
        """Give what is due before ``until``, of items that were open."""
        while self._due is not None and self._due < until:
            yield self._due
            for step in self._rest:
                if isinstance(step, float):
                    self._due = step
                    break
                if step["type"] in _DELTAS and step["item_id"] in self._items:
                    yield step
            else:
                self._due = None
