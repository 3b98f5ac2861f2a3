"""What comes to the speaker: the jitter buffer, the fade, and the playhead.

Pure: the device's callback asks for samples, the reader gives stretches of replies and flushes, and
nothing here knows a clock or a thread. Heard is counted in samples handed to the device, so it
stays right through a stall, a pause and a change of the device.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from shared import messages
from shared.audio.pcm import RATE

#: How many items are remembered, the oldest forgotten first.
REMEMBERED = 64
#: How many of them are told of while they play.
SHOWN = 16
REMEMBERED_RESPONSES = 512
#: A place in an item that is larger, samples, is none.
LARGEST = 2**48
#: The most that waits to be played, samples (half an hour, 86 MB) and stretches: more than a model
#: can say at once, so that a server that does say more cannot take all the memory.
LONGEST = 30 * 60 * RATE
MOST = 100_000
#: And the most items that are known of at once, waiting or not.
KNOWN = 512

_Key = tuple[str, int]


@dataclass
class _Track:
    """One item's audio, as it is played."""

    key: _Key
    response_id: str
    out_of_band: bool
    heard: int = 0  # the playhead: samples from the item's start
    sure: int = LARGEST  # beyond here some of it is missing: what is played there is not counted
    received: int = 0  # samples known of, played or not
    done: bool = False  # received is all there will be
    cut: bool = False  # a flush ended it
    full: bool = False  # its end had no room
    generation: int = 0  # of its last stretch
    shift: int = 0  # from its publisher's place to ours, samples
    waiting: int = 0  # stretches in the queue

    @property
    def whole(self) -> bool:
        return self.done and not self.broken and self.heard >= self.received

    @property
    def broken(self) -> bool:
        return self.sure < LARGEST

    def breaks(self) -> None:
        """Count nothing beyond what is known of it by now: something is missing there."""
        self.sure = min(self.sure, self.received)

    @property
    def counted(self) -> int:
        """How far it was heard: a truncation keeps a beginning, so no further than to a hole."""
        return min(self.heard, self.sure)

    def survives(self, spared: str) -> bool:
        """Whether a flush leaves it alone."""
        return self.out_of_band or (spared != "" and self.response_id == spared)

    def seen(self) -> messages.HeardItem:
        return messages.HeardItem(
            *self.key, self.counted, self.received, self.done, self.broken, self.cut
        )


@dataclass
class _Stretch:
    track: _Track
    start: int  # samples from the item's start
    pcm: memoryview  # what is left of it, s16le


class Player:
    """Plays stretches of replies in the order in which they came, and counts.

    ``jitter`` is how many samples are gathered before a reply begins (or goes on after an
    underrun), ``fade`` over how many it falls silent when it is cut.
    """

    def __init__(self, generation: int, jitter: int, fade: int) -> None:
        self.generation = generation
        self.session = 0
        self.underruns = 0  # times the device asked for more than had come, in mid-item
        self.stale = 0  # samples refused, because a flush had ended what they belong to
        self.gaps = 0  # samples that never came though later ones did
        self.overflow = 0  # samples refused, because too much was waiting
        self._jitter = jitter
        self._fade = fade
        self._queue: deque[_Stretch] = deque()
        self._queued = 0  # samples in the queue
        self._tracks: OrderedDict[_Key, _Track] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()  # responses that a flush ended
        self._tail: bytes = b""  # the fade of what was cut, still to be given to the device
        self._running = False
        self._waited = 0  # samples of silence given while gathering
        self._fresh = True  # the next sample follows a silence, perhaps within its item
        self._last: _Track | None = None  # whose samples were given last
        self._cue: bytes = b""  # what is left of a tone that is nobody's item
        self._sounding = False  # some of it was given

    @property
    def playing(self) -> bool:
        """Whether there is something to give to the device."""
        return self._running or bool(self._queue) or bool(self._tail)

    @property
    def fading(self) -> bool:
        """Whether the end of what was cut is still to be given to the device."""
        return bool(self._tail)

    def items(self) -> list[messages.HeardItem]:
        """Give the last items in playing order, with how far each was heard."""
        return [track.seen() for track in list(self._tracks.values())[-SHOWN:]]

    def cue(self, pcm: bytes) -> None:
        """Play a short tone, s16le, once nothing else is; it takes an earlier one's place.

        It is nobody's item and counts as nothing heard. A flush ends it, and so does a reply.
        """
        self._end_cue()
        self._cue = pcm

    def push(self, frame: messages.ReplyAudio) -> list[messages.HeardItem] | None:
        """Take a stretch of a reply.

        Where it is of a newer generation than any before it, a flush was lost: what is older is cut
        now, and the cut items are given, as by ``flush``.
        """
        cut = None
        if self.generation < frame.generation <= messages.LAST_GENERATION:
            cut = self.flush(frame.generation, spared=frame.response_id)
        self.session = frame.session
        key = (frame.item_id, frame.content_index)
        samples = len(frame.payload) // 2
        if frame.generation > messages.LAST_GENERATION or (
            not frame.out_of_band
            and (frame.generation < self.generation or frame.response_id in self._ended)
        ):
            self.stale += samples
            return cut
        if key not in self._tracks and len(self._tracks) >= KNOWN:
            self._forget()
            if len(self._tracks) >= KNOWN:
                self.overflow += samples
                return cut
        track = self._track(key, frame.response_id, frame.out_of_band)
        if track.cut:
            self.stale += samples
            return cut
        if frame.generation > track.generation and not frame.out_of_band:
            # a reply never outlives its generation: another downlink goes on with it, and where
            # it does not know how much had come, what it counts from nothing follows that
            track.shift = max(0, track.received - frame.start)
            if track.received:
                # and nobody knows what was said while there was none
                track.breaks()
        track.generation = frame.generation
        start = frame.start + track.shift
        end = start + samples
        if end > LARGEST:
            # no item is that long, and sums of it would no longer be a message
            self.stale += samples
            return cut
        if end > track.received:
            skip = max(0, track.received - start)
            if start > track.received:
                # some of it never came, or went to a playback that is no more
                self.gaps += start - track.received if track.received else 0
                track.breaks()
            pcm = memoryview(frame.payload)[skip * 2 : samples * 2]
            # an end beyond all that came is known of, and not heard
            if pcm and self._has_room(track, samples - skip):
                self._queue.append(_Stretch(track, start + skip, pcm))
                track.waiting += 1
                self._queued += samples - skip
            track.received = end
        track.done = track.done or frame.last
        return cut

    def flush(
        self,
        generation: int,
        received: Sequence[messages.Received] = (),
        interrupted: Sequence[str] = (),
        spared: str = "",
    ) -> list[messages.HeardItem] | None:
        """Fall silent, and give the items that were cut or never begun, in playing order.

        ``received`` is what downlink had of each item when it flushed, ``interrupted`` the
        responses to refuse from now on, ``spared`` a response that goes on. None for a flush that
        is older than what is playing, or cannot be.
        """
        if not self.generation < generation <= messages.LAST_GENERATION:
            return None
        self.generation = generation
        for counted in received:
            track = self._track((counted.item_id, counted.content_index), "", False)
            track.received = max(track.received, counted.received)
            track.done = track.done or counted.done
        for name in interrupted:
            self._end(name)
        ending = [t for t in self._tracks.values() if not t.cut and not t.survives(spared)]
        # with a fade that is still to be given, nothing behind it has been begun
        begun = self._running and bool(self._queue) and not self._tail
        if begun and not self._queue[0].track.survives(spared):
            self._tail = self._faded()
        self._end_cue()
        kept = deque(s for s in self._queue if s.track.survives(spared))
        cut: list[messages.HeardItem] = []
        for track in ending:
            if track.response_id:
                self._end(track.response_id)
            if not track.whole:
                cut.append(track.seen())
            track.cut, track.waiting = True, 0
        self._queue = kept
        self._queued = sum(len(s.pcm) // 2 for s in kept)
        self._running = bool(kept) and self._running
        self._waited = 0
        return cut

    def render(self, samples: int) -> bytes:
        """Give the device its next samples, s16le, silence where there is nothing to play."""
        if not self._tail:
            if not (self._queue or self._running or self._cue):
                return _silence(samples)
            if self._running and not self._fresh and self._queue:
                # what happens most: more of the same
                stretch = self._queue[0]
                if len(stretch.pcm) > samples * 2:
                    taken = bytes(stretch.pcm[: samples * 2])
                    self._advance(stretch, samples)
                    return taken
        out = bytearray(samples * 2)
        at = 0
        if not self._running:
            self._running = self._ready(samples)
        if self._running and self._sounding:
            self._end_cue()
        if self._tail:
            tail = self._tail[: samples * 2]
            self._tail = self._tail[len(tail) :]
            out[: len(tail)] = tail
            at = len(tail)
        if self._running:
            at = self._fill(out, at)
            if at < len(out):
                self._ran_dry(out, at)
        elif self._cue and not self._queue:
            taken = self._cue[: len(out) - at]
            out[at : at + len(taken)] = taken
            self._cue = self._cue[len(taken) :]
            self._sounding = bool(taken and self._cue)
        return bytes(out)

    # how

    def _has_room(self, track: _Track, samples: int) -> bool:
        # an item that lost a part is not taken up again: what is heard of it is its beginning
        if track.full or self._queued + samples > LONGEST or len(self._queue) >= MOST:
            track.full = True
            self.overflow += samples
        return not track.full

    def _ready(self, samples: int) -> bool:
        """Whether enough has gathered to begin."""
        if not self._queue:
            return False
        if self._queued >= self._jitter or self._queue[-1].track.done:
            return True
        # what is there is not held back for longer than the gathering should take
        self._waited += samples
        return self._waited > self._jitter

    def _fill(self, out: bytearray, at: int) -> int:
        self._waited = 0
        while at < len(out) and self._queue:
            stretch = self._queue[0]
            taken = stretch.pcm[: len(out) - at]
            out[at : at + len(taken)] = taken
            if self._fresh:
                self._fresh = False
                if stretch.start:
                    _ramp(out, at, at + min(len(taken), self._fade * 2), rising=True)
            at += len(taken)
            self._advance(stretch, len(taken) // 2)
        return at

    def _end_cue(self) -> None:
        """Fade out what sounds of a tone, and let go of the rest."""
        if self._sounding:
            end = bytearray(self._cue[: self._fade * 2])
            _ramp(end, 0, len(end), rising=False)
            self._tail += bytes(end)
        self._cue, self._sounding = b"", False

    def _advance(self, stretch: _Stretch, samples: int) -> None:
        stretch.start += samples
        stretch.track.heard = stretch.start
        self._last = stretch.track
        stretch.pcm = stretch.pcm[samples * 2 :]
        self._queued -= samples
        if not stretch.pcm:
            self._queue.popleft()
            stretch.track.waiting -= 1

    def _ran_dry(self, out: bytearray, at: int) -> None:
        self._running = False
        if self._last is not None and not self._last.done:
            self.underruns += 1
            self._fresh = True
            _ramp(out, max(0, at - self._fade * 2), at, rising=False)

    def _faded(self) -> bytes:
        """Take the samples of the fade out of the queue: they are handed to the device, so
        heard.
        """
        left = 0
        for stretch in self._queue:
            # the next item is not begun for the sake of the fade, nor is one that goes on faded
            if stretch.track is not self._queue[0].track or left >= self._fade:
                break
            left += len(stretch.pcm) // 2
        tail = bytearray(min(left, self._fade) * 2)
        self._fill(tail, 0)
        _ramp(tail, 0, len(tail), rising=False)
        return bytes(tail)

    def _track(self, key: _Key, response_id: str, out_of_band: bool) -> _Track:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track(key, response_id, out_of_band)
            if len(self._tracks) > REMEMBERED:
                self._forget()
        return track

    def _forget(self) -> None:
        for key in list(self._tracks)[: len(self._tracks) - REMEMBERED]:
            if not self._tracks[key].waiting:
                del self._tracks[key]

    def _end(self, response_id: str) -> None:
        self._ended[response_id] = None
        while len(self._ended) > REMEMBERED_RESPONSES:
            self._ended.popitem(last=False)


@lru_cache(maxsize=4)
def _silence(samples: int) -> bytes:
    return bytes(samples * 2)


def _ramp(pcm: bytearray, begin: int, end: int, *, rising: bool) -> None:
    """Scale the bytes ``begin`` to ``end`` of s16le from silence to full, or the other way."""
    samples = np.frombuffer(pcm, dtype="<i2", count=(end - begin) // 2, offset=begin)
    ramp = np.linspace(0.0, 1.0, len(samples), endpoint=False)
    samples[:] = samples * (ramp if rising else 1.0 - ramp)
