"""The audio for the device: queued audio, behind a jitter buffer, with fades and silence. Pure.

All lengths are samples at 24 kHz, mono; audio is s16le, 2 bytes a sample.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from services.playback.ahead import Ahead
from services.playback.track import Track
from shared.audio.pcm import RATE

#: How much audio is queued at most, in samples (half an hour, 86 MB) and in chunks. A model cannot
#: say as much at once; a server that sends more cannot use up the memory.
MAX_QUEUED_SAMPLES = 30 * 60 * RATE
MAX_QUEUED_CHUNKS = 100_000


@dataclass
class _Chunk:
    """Audio of one item that waits to be played."""

    track: Track
    start: int  # where the audio begins, samples from the item's start
    pcm: memoryview  # the audio that was not played yet


class Output:
    """Plays chunks in the order in which they came, and moves their items' playheads.

    ``jitter``: samples that are gathered before a reply begins, or continues after an underrun.
    ``fade``: samples over which sound fades: out at a flush, out and in around an underrun.
    """

    def __init__(self, jitter: int, fade: int) -> None:
        #: How often the device asked for more audio than had come, in the middle of an item.
        self.underruns = 0
        #: The audio that the device has not played yet; None: what it was given counts as heard.
        self.ahead: Ahead | None = None
        self._jitter = jitter
        self._fade = fade
        self._queue: deque[_Chunk] = deque()
        self._queued = 0  # samples in the queue
        # The fade of the audio that was cut, as far as the device has not been given it.
        self._tail: bytes = b""
        self._running = False  # the queue is being played; False while audio gathers
        self._waited = 0  # samples of silence given to the device while audio gathers
        # Whether the next sample follows a silence. It then fades in, unless its item begins there.
        self._after_silence = True
        self._last: Track | None = None  # the item whose samples were given last
        self._cue: bytes = b""  # the rest of a tone, which belongs to no item
        self._cue_sounds = False  # the device was given a part of the tone

    @property
    def playing(self) -> bool:
        """Whether any audio of an item, or a fade, is left to give to the device or in it."""
        if self._running or self._queue or self._tail:
            return True
        return self.ahead is not None and self.ahead.holds

    @property
    def fading(self) -> bool:
        """Whether a part of the fade of cut audio is still to be given to the device."""
        return bool(self._tail)

    def enqueue(self, track: Track, start: int, pcm: memoryview) -> bool:
        """Queue audio of an item that begins at ``start`` in the item.

        Return False, and refuse this and all later audio of the item, if the queue is full.
        """
        samples = len(pcm) // 2
        full = self._queued + samples > MAX_QUEUED_SAMPLES or len(self._queue) >= MAX_QUEUED_CHUNKS
        if track.overflowed or full:
            track.overflowed = True
            return False
        self._queue.append(_Chunk(track, start, pcm))
        track.queued_chunks += 1
        self._queued += samples
        return True

    def cut(self, spared: str) -> None:
        """Fade out and drop the audio of all items that a flush ends (see `Track.survives`)."""
        # As long as an earlier fade plays, the next item has not begun, so it needs no fade of its
        # own. A device that holds audio fades by itself.
        begun = self._running and bool(self._queue) and not self._tail and self.ahead is None
        if begun and not self._queue[0].track.survives(spared):
            self._tail = self._take_fade()
        self._end_cue()
        self._queue = deque(c for c in self._queue if c.track.survives(spared))
        self._queued = sum(len(c.pcm) // 2 for c in self._queue)
        self._running = bool(self._queue) and self._running
        self._waited = 0

    def take_back(self, position: int) -> None:
        """Queue the audio from a position on again: the device gives it back unplayed."""
        assert self.ahead is not None
        spans = self.ahead.take_back(position)
        for span in reversed(spans):
            self._queue.appendleft(_Chunk(span.track, span.item_begin, span.pcm))
            span.track.queued_chunks += 1
            self._queued += len(span.pcm) // 2
        if spans:
            self._running = self._after_silence = True
        # A tone is not played again.
        self._tail, self._cue_sounds = b"", False

    def cue(self, pcm: bytes) -> None:
        """Play a short tone (s16le) once nothing else plays. The tone replaces an earlier one."""
        self._end_cue()
        self._cue = pcm

    def render(self, samples: int) -> bytes:
        """Return the device's next ``samples`` samples, s16le; silence if nothing is to be played.

        The returned samples count as heard from now on, unless the device holds them (`ahead`).
        """
        if not self._tail:
            if not (self._queue or self._running or self._cue):
                return _silence(samples)
            if self._running and not self._after_silence and self._queue:
                # The most frequent case: the first chunk fills the device's buffer.
                chunk = self._queue[0]
                if len(chunk.pcm) > samples * 2:
                    taken = bytes(chunk.pcm[: samples * 2])
                    self._advance(chunk, samples, samples)
                    return taken
        out = bytearray(samples * 2)
        at = 0
        if not self._running:
            self._running = self._ready(samples)
        if self._running and self._cue_sounds:
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
            self._cue_sounds = bool(taken and self._cue)
        return bytes(out)

    # helpers

    def _ready(self, samples: int) -> bool:
        """Return whether enough audio has gathered to begin.

        ``samples``: how many the device asks for now.
        """
        if not self._queue:
            return False
        if self._queued >= self._jitter or self._queue[-1].track.done:
            return True
        # Audio that is there waits no longer than gathering should take.
        self._waited += samples
        return self._waited > self._jitter

    def _fill(self, out: bytearray, at: int) -> int:
        """Copy queued audio into ``out`` from byte ``at`` on. Return where the copy ends."""
        self._waited = 0
        while at < len(out) and self._queue:
            chunk = self._queue[0]
            taken = chunk.pcm[: len(out) - at]
            out[at : at + len(taken)] = taken
            if self._after_silence:
                self._after_silence = False
                if chunk.start:
                    _ramp(out, at, at + min(len(taken), self._fade * 2), rising=True)
            at += len(taken)
            self._advance(chunk, len(taken) // 2, at // 2)
        return at

    def _end_cue(self) -> None:
        """Fade out the tone if it sounds, and drop the rest of it."""
        if self._cue_sounds:
            end = bytearray(self._cue[: self._fade * 2])
            _ramp(end, 0, len(end), rising=False)
            self._tail += bytes(end)
        self._cue, self._cue_sounds = b"", False

    def _advance(self, chunk: _Chunk, samples: int, offset: int) -> None:
        """Move the playhead over the first ``samples`` of the queue's first chunk.

        ``offset``: where these samples end in the audio that is rendered now, in samples.
        """
        chunk.start += samples
        if self.ahead is None:
            chunk.track.playhead = chunk.start
        else:
            self.ahead.add(chunk.track, chunk.start, offset, chunk.pcm[: samples * 2])
        self._last = chunk.track
        chunk.pcm = chunk.pcm[samples * 2 :]
        self._queued -= samples
        if not chunk.pcm:
            self._queue.popleft()
            chunk.track.queued_chunks -= 1

    def _ran_dry(self, out: bytearray, at: int) -> None:
        """End playing: the queue had nothing for ``out`` from byte ``at`` on."""
        self._running = False
        if self._last is not None and not self._last.done:
            self.underruns += 1
            self._after_silence = True
            _ramp(out, max(0, at - self._fade * 2), at, rising=False)

    def _take_fade(self) -> bytes:
        """Take the samples of a fade out of the queue, and return them faded, s16le.

        The device is given these samples, so they count as heard.
        """
        left = 0
        for chunk in self._queue:
            # Only the item that is being played fades: the next one has not begun.
            if chunk.track is not self._queue[0].track or left >= self._fade:
                break
            left += len(chunk.pcm) // 2
        tail = bytearray(min(left, self._fade) * 2)
        self._fill(tail, 0)
        _ramp(tail, 0, len(tail), rising=False)
        return bytes(tail)


@lru_cache(maxsize=4)
def _silence(samples: int) -> bytes:
    return bytes(samples * 2)


def _ramp(pcm: bytearray, begin: int, end: int, *, rising: bool) -> None:
    """Fade the s16le samples in the bytes ``begin`` to ``end`` in place, in or out."""
    samples = np.frombuffer(pcm, dtype="<i2", count=(end - begin) // 2, offset=begin)
    ramp = np.linspace(0.0, 1.0, len(samples), endpoint=False)
    samples[:] = samples * (ramp if rising else 1.0 - ramp)
