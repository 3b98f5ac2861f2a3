"""The replies: which audio from the server may be played, and what a flush ends. Pure.

``Replies`` is fed with server events and with what playback reports, and returns the messages to
publish. It knows no clock, no socket and no device.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from services.downlink import events, objects
from services.downlink.audio_item import AudioItem, Key, decode
from services.downlink.responses import Responses
from services.downlink.transcripts import Role, Transcripts
from shared import messages
from shared.audio.pcm import RATE
from shared.oldest import drop_oldest

#: The longest chunk of audio in one message: 8192 samples, a third of a second.
CHUNK_BYTES = 16384
#: How many items are remembered. The oldest is forgotten first.
REMEMBERED = 64


@dataclass
class Replies:
    """The responses, their items, and the generation that decides which of them may be played."""

    generation: int
    session: int = 0
    stale: int = 0  # samples that were not published because their response was interrupted
    playing: bool = False  # the person hears a reply of the conversation
    rate: int = RATE  # of the audio that the server sends, Hz
    #: The session's responses. Only this class changes them.
    responses: Responses = field(default_factory=Responses)
    speech_ms: int = -1  # where the person's turn begins in the session's audio; -1: nobody speaks
    _items: OrderedDict[Key, AudioItem] = field(default_factory=OrderedDict)
    _texts: Transcripts = field(default_factory=Transcripts)
    # How much playback has of each item, in samples: an item that an earlier downlink began goes on
    # from there.
    _at_playback: dict[Key, int] = field(default_factory=dict)
    # Items whose beginning this process read, and when link received it, ns.
    _begun: OrderedDict[str, int] = field(default_factory=OrderedDict)

    # sessions and playback

    def begin_session(self, session: int) -> list[messages.Message]:
        """Begin with a new session. Audio that came in the last one may play to its end."""
        if session == self.session:
            return []
        ended: list[messages.Message] = []
        for item in self._items.values():
            ended += self._end(item)
        self.responses.clear()
        self._items.clear()
        self._texts.clear()
        self.session, self.speech_ms = session, -1
        return ended

    def heard(self, heard: messages.Heard) -> list[messages.Message]:
        """Take playback's report of the playhead.

        Return the transcripts of the items that were heard to their end since the last report.
        Later flushes do not list these items.
        """
        if heard.generation < messages.LAST_GENERATION:
            self.generation = max(self.generation, heard.generation)
        # A report of an older generation was sent before playback read the flush: what plays there
        # is about to fall silent.
        self.playing = (
            heard.playing
            and heard.generation == self.generation
            and any(not (i.whole or self._is_out_of_band(i)) for i in heard.items)
        )
        self._at_playback = {
            (i.item_id, i.content_index): i.received
            for i in heard.items
            if i.received < messages.MAX_ITEM_SAMPLES
        }
        texts: list[messages.Message] = []
        for seen in heard.items:
            item = self._items.get((seen.item_id, seen.content_index))
            if item is not None:
                item.heard_samples = max(item.heard_samples, seen.heard)
            # As long as playback does not know that an item is over, a flush has to list the item.
            if item is None or item.heard_whole or seen.broken or not (item.done and seen.done):
                continue
            if seen.heard >= item.received:
                item.heard_whole, item.stopped_at = True, item.received
                texts += self._transcript(item.item_id)
        return texts

    def unfinished(self, heard: messages.Heard) -> frozenset[Key]:
        """Return the items that were not heard to their end although nothing goes on any more.

        Nothing is played, as playback reports it, and no response is under way.
        """
        if heard.playing or self.responses.under_way():
            return frozenset()
        ours = {
            key
            for key, i in self._items.items()
            if not (i.heard_whole or i.truncated or i.out_of_band or self._interrupted(i))
        }
        # Items that only playback knows: an earlier downlink began them, and nobody read their end.
        others = {(i.item_id, i.content_index) for i in heard.items if not (i.whole or i.cut)}
        return frozenset(ours | (others - self._items.keys()))

    def flush_report(self, flush_report: messages.FlushReport) -> list[messages.Message]:
        """Take how far the items that a flush ended were heard, and return their transcripts."""
        texts: list[messages.Message] = []
        for seen in flush_report.items:
            item = self._items.get((seen.item_id, seen.content_index))
            if item is not None and item.stopped_at < 0:
                # A restarted playback reports only what it played itself.
                item.stopped_at = max(seen.heard, item.heard_samples)
                texts += self._transcript(item.item_id)
        return texts

    # server events

    def speech_started(self, event: events.SpeechStarted) -> None:
        """Note that the person began to speak. Whether that ends the reply, the caller decides."""
        if event.audio_start_ms is not None:
            self.speech_ms = event.audio_start_ms

    def speech_ended(self) -> None:
        """Note that the person's turn is over."""
        self.speech_ms = -1

    def item_added(self, event: events.ItemAdded, received_ns: int) -> None:
        """Note that this process reads an item from its beginning."""
        self._begun.setdefault(event.item.id, received_ns)
        drop_oldest(self._begun, REMEMBERED)

    def audio(self, event: events.AudioDelta) -> list[messages.Message]:
        """Return the audio to publish. Raises BadAudio for a delta that is not base64."""
        data = decode(event.delta, event.item_id)
        item = self._item(event)
        start = item.received
        pcm = item.take(data)
        if self._interrupted(item):
            self.stale += len(pcm) // 2
            return []
        return [
            item.chunk(self.generation, self.session, start + at // 2, pcm[at : at + CHUNK_BYTES])
            for at in range(0, len(pcm), CHUNK_BYTES)
        ]

    def audio_done(self, event: events.AudioDone) -> list[messages.Message]:
        """Return the messages that mark the end of an item's audio."""
        return self._end(self._item(event))

    def response_created(self, response: objects.Response) -> None:
        """Note that a response is under way."""
        self.responses.take(response)

    def response_done(self, done: objects.Response) -> list[messages.Message]:
        """Note that a response is over. Return the messages that mark the end of its items.

        A server that sends no ``output_audio.done`` still ends the items with the response.
        """
        self.responses.take(done).under_way = False
        ended: list[messages.Message] = []
        for item in self._items.values():
            if item.response_id == done.id:
                ended += self._end(item)
        return ended

    def words_added(
        self, item_id: str, role: Role, delta: str, *, written: bool = False
    ) -> list[messages.Message]:
        """Add words to an item's transcript. Return the transcript, or [] if it is too long.

        ``written``: nobody speaks the item.
        """
        received = max(
            (i.received for i in self._items.values() if i.item_id == item_id), default=0
        )
        added = self._texts.add(item_id, role, delta, received, written=written)
        return self._transcript(item_id) if added else []

    def words_final(
        self, item_id: str, role: Role, transcript: str, *, written: bool = False
    ) -> list[messages.Message]:
        """Replace an item's transcript by the final one, and return that."""
        self._texts.finish(item_id, role, transcript, written=written)
        return self._transcript(item_id)

    def confirmed(self, item_id: str) -> None:
        """Note that the server confirmed the truncation or the deletion of an item."""
        for item in self._items.values():
            if item.item_id == item_id:
                item.truncated = True

    # questions, and the flush

    @property
    def lost_answer(self) -> Literal["", "answer", "continue"]:
        """The missing part of the replies, if the session is lost now.

        ``answer``: a whole reply; ``continue``: the rest of one; "": nothing.
        """
        missing: Literal["", "answer", "continue"] = ""
        for name in self.responses.generating():
            items = [item for item in self._items.values() if item.response_id == name]
            if not any(item.received for item in items):
                missing = missing or "answer"
            elif not all(item.done for item in items):
                missing = "continue"
        return missing

    @property
    def nothing_begun(self) -> bool:
        """Whether no response has begun in this session."""
        return len(self.responses) == 0

    def may_be_heard(self, response_id: str) -> bool:
        """Return whether a response of the conversation is known and was not interrupted."""
        responses = self.responses
        outside = responses.is_out_of_band(response_id) or responses.interrupted(response_id)
        return response_id in responses and not outside

    def flush(self, cause: str, event_ns: int) -> messages.Flush:
        """Advance the generation, so that nothing of the conversation so far is played any more."""
        self.generation += 1
        self.playing = False
        interrupted, active = self.responses.interrupt()
        return messages.Flush(
            generation=self.generation,
            session=self.session,
            cause=cause,
            event_ns=event_ns,
            received=[
                item.counted()
                for item in self._items.values()
                if not (item.heard_whole or item.truncated or item.out_of_band)
            ],
            interrupted=interrupted[-REMEMBERED:],
            active=active[-REMEMBERED:],
        )

    def state(self) -> messages.ReplyState:
        """Return the state to publish."""
        return messages.ReplyState(
            generation=self.generation,
            session=self.session,
            active=self.responses.under_way()[-REMEMBERED:],
            items=[item.state() for item in self._items.values()],
            speaking=self.speech_ms >= 0,
            speech_ms=max(0, self.speech_ms),
        )

    # helpers

    def _is_out_of_band(self, seen: messages.HeardItem) -> bool:
        item = self._items.get((seen.item_id, seen.content_index))
        return item is not None and item.out_of_band

    def _interrupted(self, item: AudioItem) -> bool:
        return self.responses.interrupted(item.response_id)

    def _item(self, event: events.AudioDelta | events.AudioDone) -> AudioItem:
        key = (event.item_id, event.content_index)
        item = self._items.get(key)
        if item is None:
            from_beginning = event.response_id in self.responses or event.item_id in self._begun
            response = self.responses.get(event.response_id)
            item = self._items[key] = AudioItem(
                event.response_id,
                *key,
                self.responses.is_out_of_band(event.response_id),
                response.interrupted,
                rate=self.rate,
            )
            item.received = self._at_playback.get(key, 0)
            if not (from_beginning or key in self._at_playback):
                # Begin at sample 1, not 0. Playback sees that audio is missing before it: it plays
                # the rest, and counts none of it as heard.
                item.beginning_missing, item.received = True, 1
            drop_oldest(self._items, REMEMBERED)
        return item

    def _end(self, item: AudioItem) -> list[messages.Message]:
        if item.done:
            return []
        start, rest = item.received, item.end()
        if self._interrupted(item):
            return []
        return [item.chunk(self.generation, self.session, start, rest, last=True)]

    def _transcript(self, item_id: str) -> list[messages.Message]:
        """Return an item's transcript, split into heard and unheard once the playhead stopped."""
        item = next((i for i in self._items.values() if i.item_id == item_id), None)
        begun_ns = self._begun.get(item_id, 0)
        return self._texts.message(self.session, item_id, item, begun_ns)
