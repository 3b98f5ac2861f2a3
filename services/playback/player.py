"""The queue of audio to play, and how much of each item was heard. Pure.

The device's callback asks for samples, and the loop hands in audio and flushes. Nothing here knows
a clock or a thread. The playhead counts samples that were handed to the device, so it stays right
through a stall, a pause and a change of the device.

All lengths are samples at 24 kHz, mono; audio is s16le, 2 bytes a sample.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from services.playback.output import Output
from services.playback.track import Key, Track
from shared import messages
from shared.oldest import drop_oldest

#: How many items are remembered. The oldest are forgotten first, if none of their audio is queued.
MAX_REMEMBERED_ITEMS = 64
#: How many items are known at most, queued ones included. Audio of further items is refused.
MAX_ITEMS = 512
#: How many of the last items `items` returns: enough for the replies that can still change.
MAX_SHOWN_ITEMS = 16
#: How many responses that a flush ended are remembered.
MAX_REFUSED_RESPONSES = 512


class Player:
    """Accepts or refuses audio, keeps the playhead of each item, and passes samples on.

    ``jitter``: samples that are gathered before a reply begins, or continues after an underrun.
    ``fade``: samples over which sound fades: out at a flush, out and in around an underrun.
    """

    def __init__(self, generation: int, jitter: int, fade: int) -> None:
        #: The newest generation that playback knows of. Audio of an older one is refused.
        self.generation = generation
        #: The session of the last audio that came; 0 before that.
        self.session = 0
        #: Samples that were refused: a flush had ended their generation, response or item, or their
        #: place was beyond the longest item.
        self.stale_samples = 0
        #: Samples that never came, though later ones of the same item did.
        self.gap_samples = 0
        #: Samples that were refused because too much audio or too many items were queued.
        self.overflow_samples = 0
        #: The audio for the device. The callback calls ``output.render`` directly.
        self.output = Output(jitter, fade)
        self._tracks: OrderedDict[Key, Track] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()  # responses that a flush ended

    @property
    def playing(self) -> bool:
        """Whether any audio of an item, or a fade, is left to give to the device."""
        return self.output.playing

    @property
    def fading(self) -> bool:
        """Whether a part of the fade of cut audio is still to be given to the device."""
        return self.output.fading

    @property
    def underruns(self) -> int:
        """How often the device asked for more audio than had come, in the middle of an item."""
        return self.output.underruns

    def items(self) -> list[messages.HeardItem]:
        """Return the last items in playing order, MAX_SHOWN_ITEMS at most."""
        return [track.heard_item() for track in list(self._tracks.values())[-MAX_SHOWN_ITEMS:]]

    def render(self, samples: int) -> bytes:
        """Return the device's next ``samples`` samples, s16le; silence if nothing is to be played.

        The returned samples count as heard from now on.
        """
        return self.output.render(samples)

    def cue(self, pcm: bytes) -> None:
        """Play a short tone (s16le) once nothing else plays. The tone replaces an earlier one.

        A tone belongs to no item, so nothing of it counts as heard. A flush or a reply ends the
        tone.
        """
        self.output.cue(pcm)

    def push(self, chunk: messages.ReplyAudio) -> list[messages.HeardItem] | None:
        """Queue a chunk of an item's audio, unless it is stale or there is no room for it.

        A chunk of a newer generation shows that a flush was lost: everything older is cut. Return
        the items that were cut, as `flush` does, or None if the chunk is of no newer generation.
        """
        cut = None
        if self.generation < chunk.generation <= messages.LAST_GENERATION:
            cut = self.flush(chunk.generation, spared=chunk.response_id)
        self.session = chunk.session
        samples = len(chunk.payload) // 2
        if self._is_stale(chunk):
            self.stale_samples += samples
            return cut
        track = self._track((chunk.item_id, chunk.content_index), chunk)
        if track is None:
            self.overflow_samples += samples
            return cut
        if track.cut:
            self.stale_samples += samples
            return cut
        start = track.place_and_note_gap(chunk)
        end = start + samples
        if end > messages.MAX_ITEM_SAMPLES:
            self.stale_samples += samples
            return cut
        if end > track.received:
            if start > track.received:
                # If nothing came before this chunk, the missing part went to a playback that is
                # gone, or downlink did not read it: no audio was lost on the way here.
                if track.received:
                    self.gap_samples += start - track.received
                track.break_here()
            known = max(0, track.received - start)
            audio = memoryview(chunk.payload)[known * 2 : samples * 2]
            if audio and not self.output.enqueue(track, start + known, audio):
                self.overflow_samples += samples - known
            track.received = end
        track.done = track.done or chunk.last
        return cut

    def flush(
        self,
        generation: int,
        received: Sequence[messages.Received] = (),
        interrupted: Sequence[str] = (),
        spared: str = "",
    ) -> list[messages.HeardItem] | None:
        """Fall silent. Return the items that were cut and not heard to their end, in playing order.

        ``received``: how much downlink had of each item when it flushed. ``interrupted``: the
        responses to refuse from now on. ``spared``: a response that goes on, "" for none.

        Return None, and do nothing, for a generation that is not newer than the player's, or is
        larger than LAST_GENERATION.
        """
        if not self.generation < generation <= messages.LAST_GENERATION:
            return None
        self.generation = generation
        for counted in received:
            key = (counted.item_id, counted.content_index)
            track = self._tracks.get(key) or self._remember(Track(key, "", out_of_band=False))
            track.received = max(track.received, counted.received)
            track.done = track.done or counted.done
        for name in interrupted:
            self._refuse(name)
        ending = [t for t in self._tracks.values() if not t.cut and not t.survives(spared)]
        self.output.cut(spared)
        cut: list[messages.HeardItem] = []
        for track in ending:
            if track.response_id:
                self._refuse(track.response_id)
            if not track.whole:
                cut.append(track.heard_item())
            track.cut, track.queued_chunks = True, 0
        return cut

    # helpers

    def _is_stale(self, chunk: messages.ReplyAudio) -> bool:
        """Return whether a flush ended the chunk's generation or response."""
        if chunk.generation > messages.LAST_GENERATION:
            return True
        return not chunk.out_of_band and (
            chunk.generation < self.generation or chunk.response_id in self._refused
        )

    def _track(self, key: Key, chunk: messages.ReplyAudio) -> Track | None:
        """Return an item's track, made if the item is new, or None if too many items are known."""
        track = self._tracks.get(key)
        if track is not None:
            return track
        if len(self._tracks) >= MAX_ITEMS:
            self._forget()
            if len(self._tracks) >= MAX_ITEMS:
                return None
        return self._remember(Track(key, chunk.response_id, chunk.out_of_band))

    def _remember(self, track: Track) -> Track:
        self._tracks[track.key] = track
        if len(self._tracks) > MAX_REMEMBERED_ITEMS:
            self._forget()
        return track

    def _forget(self) -> None:
        """Forget the oldest items, but none whose audio is queued."""
        for key in list(self._tracks)[: len(self._tracks) - MAX_REMEMBERED_ITEMS]:
            if not self._tracks[key].queued_chunks:
                del self._tracks[key]

    def _refuse(self, response_id: str) -> None:
        """Refuse a response's audio from now on."""
        self._refused[response_id] = None
        drop_oldest(self._refused, MAX_REFUSED_RESPONSES)
