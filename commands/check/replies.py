"""The replies that the kit gives to a playback, and what comes from the playback's speaker.

The replies are noise that is loud in each sample. Positive and negative samples tell two items
apart, whatever their volume, and the samples that are not zero tell how much of an item was played.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from commands.check.bench import PATIENCE_S, Bench
from commands.check.common import Check
from commands.check.rules import Broken
from shared import messages
from shared.audio.pcm import RATE

Samples = npt.NDArray[np.int16]

#: Audio that must not be played is listened for this long, s.
LISTEN_S = 0.5
CHUNK = 4800  # samples: 0.2 s


@dataclass(frozen=True)
class Item:
    """An item of a reply that the kit made up."""

    response_id: str
    item_id: str
    pcm: Samples
    sign: int


class Replies(Check):
    """The check of a stage that plays replies: the kit is its downlink."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        # From the clock, as in downlink, so that a second check does not begin with older numbers.
        self.generation = time.time_ns() // 1_000_000
        self.session = time.time_ns() // 1000
        self._numbers = itertools.count(1)

    # what downlink says

    def _publish_state(self) -> None:
        self.bench.publish(
            messages.ReplyState(
                generation=self.generation, session=self.session, active=[], items=[]
            )
        )

    def _item(self, seconds: float, sign: int = 1, response_id: str = "") -> Item:
        number = next(self._numbers)
        noise = np.random.default_rng(number).integers(4000, 12000, round(seconds * RATE))
        pcm = (sign * noise).astype(np.int16)
        return Item(response_id or f"resp_{number}", f"item_{number}", pcm, sign)

    def _chunk(
        self,
        item: Item,
        start: int,
        end: int,
        *,
        last: bool = False,
        generation: int = 0,
        out_of_band: bool = False,
    ) -> None:
        self.bench.publish(
            messages.ReplyAudio(
                generation=generation or self.generation,
                session=self.session,
                response_id=item.response_id,
                item_id=item.item_id,
                content_index=0,
                start=start,
                last=last,
                out_of_band=out_of_band,
                payload=item.pcm[start:end].tobytes(),
            )
        )

    def _say(
        self,
        seconds: float,
        sign: int = 1,
        *,
        response_id: str = "",
        generation: int = 0,
        out_of_band: bool = False,
    ) -> Item:
        """Publish a whole item in chunks."""
        item = self._item(seconds, sign, response_id)
        size = len(item.pcm)
        for start in range(0, size, CHUNK):
            end = min(start + CHUNK, size)
            self._chunk(
                item,
                start,
                end,
                last=end == size,
                generation=generation,
                out_of_band=out_of_band,
            )
        return item

    def _flush(self, *items: Item, generation: int = 0) -> messages.Flush:
        """Publish a flush, of the next generation unless one is given."""
        if not generation:
            self.generation += 1
        flush = messages.Flush(
            generation=generation or self.generation,
            session=self.session,
            cause="control",
            event_ns=time.monotonic_ns(),
            received=[messages.Received(i.item_id, 0, len(i.pcm), True) for i in items],
            interrupted=[i.response_id for i in items],
            active=[],
        )
        self.bench.publish(flush)
        return flush

    # what the speaker says

    def _sound(self, since: int, sign: int = 0, after_ns: int = 0) -> int:
        """Return how many samples sounded, of one sign if given, in frames that came since.

        ``after_ns`` leaves out the frames that were played before.
        """
        count = 0
        for frame in self.bench.all(messages.SpeakerFrame, since):
            if frame.played_ns >= after_ns:
                pcm = np.frombuffer(frame.payload, np.int16)
                count += int(np.count_nonzero(pcm * np.int32(sign) > 0 if sign else pcm))
        return count

    def _wait_sound(self, item: Item, since: int, samples: int) -> None:
        if not self.bench.until(lambda: self._sound(since, item.sign) >= samples):
            self.bench.alive()
            played = self._sound(since, item.sign) / RATE
            raise Broken(f"{played:.2f} s of {len(item.pcm) / RATE:.2f} s came from the speaker")

    def _quiet(self, item: Item, since: int) -> None:
        """Wait until the speaker gets silence after an item."""

        def quiet() -> bool:
            frames = self.bench.arrivals("speaker.frame", since)
            return len(frames) > 1 and not any(any(f.message.payload) for f in frames[-2:])

        if not self.bench.until(quiet, len(item.pcm) / RATE + PATIENCE_S):
            raise Broken("the speaker does not fall silent")

    def _items(self, since: int, item: Item) -> list[messages.HeardItem]:
        """Return what heard said of an item."""
        return [
            seen
            for heard in self.bench.all(messages.Heard, since)
            for seen in heard.items
            if seen.item_id == item.item_id
        ]

    def _silent_but_for(self, since: int, what: str) -> str:
        self.bench.rest(LISTEN_S)
        played = self._sound(since)
        if played:
            raise Broken(f"{played / RATE:.2f} s of {what} were played")
        return ""
