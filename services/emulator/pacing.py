"""When the next part of a response is due, how long it is, and which deltas come too late."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle, repeat
from typing import Any, Final

from services.emulator import formats
from services.emulator.clips import RATE, Utterance
from services.emulator.options import Options
from services.emulator.plans import ASSISTANT_TOKENS_S

Event = dict[str, Any]
#: A time in seconds at which the next events are due, or an event to send.
Step = float | Event

_DELTAS: Final = (
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_text.delta",
)


class Clock:
    """The times at which the parts of a response are due, and the sizes of its deltas."""

    def __init__(self, start: float, options: Options) -> None:
        """Begin with the first delta, which is due at ``start``, s."""
        self._start = start
        self._pace = options.pace
        self._stall = options.faults.stall
        sizes = options.delta_bytes
        self._sizes = cycle(sizes) if options.cycle_deltas else chain(sizes, repeat(sizes[-1]))
        self._sent_s = 0.0

    def due(self) -> float:
        """Return the time at which the next part is due, s."""
        due = self._start + (self._sent_s / self._pace if self._pace else 0.0)
        if self._stall and self._sent_s * 1000 >= self._stall.after_ms:
            due += self._stall.for_ms / 1000
        return due

    def sent(self, seconds: float) -> None:
        """Record that ``seconds`` of audio were sent."""
        self._sent_s += seconds

    def next_size(self) -> int:
        """Return the number of bytes in the next delta."""
        return next(self._sizes)


class Wire:
    """An utterance as bytes in a wire format, cut off at a limit of tokens."""

    def __init__(self, utterance: Utterance, kind: str, tokens: float) -> None:
        self._utterance = utterance
        self.bytes_per_s = formats.BYTES_PER_S[kind]
        #: The whole utterance as G.711: it is resampled, so that its parts can't be encoded one by
        #: one. PCM is read when it is sent.
        self._encoded: bytes | None = None
        self.full_length = 2 * utterance.samples
        if kind != formats.PCM:
            self._encoded = formats.encode(utterance.read(0, utterance.samples), kind)
            self.full_length = len(self._encoded)
        limit = max(tokens, 0) * self.bytes_per_s / ASSISTANT_TOKENS_S
        # Round a limit down to an even number of bytes, so that it never cuts a sample in two.
        self.length = self.full_length if limit >= self.full_length else int(limit) & ~1

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes ``start`` to ``stop``; either may fall into the middle of a sample."""
        stop = min(stop, self.length)
        if self._encoded is not None:
            return self._encoded[start:stop]
        first = start // 2
        pcm = self._utterance.read(first, (stop + 1) // 2)
        return pcm[start - 2 * first : stop - 2 * first]

    def samples(self, length: int) -> int:
        """Return the number of whole samples, at 24 kHz, in the first ``length`` bytes."""
        return min(length * RATE // self.bytes_per_s, self._utterance.samples)


class Stale:
    """The deltas that a cancelled response would have sent if it had gone on."""

    def __init__(self, rest: Iterator[Step], due: float | None, items: set[str]) -> None:
        """Take the remaining steps, when the next of them is due, and the ids of the open items."""
        self._rest = rest
        self._due = due
        self._items = items

    def deltas(self, until: float) -> Iterator[Step]:
        """Yield the deltas of these items that are due before ``until``, and their times."""
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
