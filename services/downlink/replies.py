"""The replies: which audio from the server may be played, and what a flush ends. Pure.

``Replies`` is fed with server events and with what playback reports, and returns the messages to
publish. It knows no clock, no socket and no device.
"""

from __future__ import annotations

import binascii
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from services.downlink import events
from shared import messages
from shared.realtime import words

#: The longest chunk of audio in one message: 8192 samples, a third of a second.
CHUNK_BYTES = 16384
#: How many items and responses are remembered. The oldest is forgotten first.
REMEMBERED = 64
REMEMBERED_RESPONSES = 512
#: The longest transcript (characters) and the most marks that fit into one message.
MAX_TRANSCRIPT = 60_000
MAX_MARKS = 4096
#: No item is longer than this, in samples: sums of larger numbers would not fit into a message.
LARGEST = 2**48

_Key = tuple[str, int]  # item id and content index


class BadAudio(ValueError):
    """Raised when a delta is not base64."""


@dataclass
class _Item:
    """One audio content part of an assistant's item."""

    response_id: str
    item_id: str
    content_index: int
    out_of_band: bool
    late: bool = False  # the item began after its response was interrupted
    received: int = 0  # samples that came from the server
    #: The audio before the first delta that this process read went to an earlier downlink, and
    #: playback has none of it: nobody knows how much it was.
    beginning_missing: bool = False
    odd: bytes = b""  # the first half of a sample that was cut in two
    done: bool = False
    truncated: bool = False
    heard: bool = False  # the person heard all of the item
    stopped_at: int = -1  # where the playhead stopped for good, in samples; -1: it may still move

    @property
    def key(self) -> _Key:
        return (self.item_id, self.content_index)

    def counted(self) -> messages.Received:
        """Return what a flush states about the item.

        Where the beginning is missing, that is nothing: playback then reports the item as cut, and
        uplink never takes it for heard to its end.
        """
        if self.beginning_missing:
            return messages.Received(*self.key, 0, False)
        return messages.Received(*self.key, self.received, self.done)


@dataclass
class _Response:
    out_of_band: bool
    active: bool = True
    interrupted: bool = False


@dataclass
class _Text:
    """The transcript of an item so far."""

    role: Literal["user", "assistant"]
    text: str = ""
    final: bool = False
    marks: list[messages.Mark] = field(default_factory=list)


@dataclass
class Replies:
    """The responses, their items, and the generation that decides which of them may be played."""

    generation: int
    session: int = 0
    stale: int = 0  # samples that were not published because their response was interrupted
    playing: bool = False  # the person hears a reply of the conversation
    speech_ms: int = -1  # where the person's turn begins in the session's audio; -1: nobody speaks
    _items: OrderedDict[_Key, _Item] = field(default_factory=OrderedDict)
    _responses: OrderedDict[str, _Response] = field(default_factory=OrderedDict)
    _texts: OrderedDict[str, _Text] = field(default_factory=OrderedDict)
    # How much playback has of each item, in samples: an item that an earlier downlink began goes on
    # from there.
    _at_playback: dict[_Key, int] = field(default_factory=dict)
    # Items whose beginning this process read.
    _begun: OrderedDict[str, None] = field(default_factory=OrderedDict)

    # sessions and playback

    def begin_session(self, session: int) -> list[messages.Message]:
        """Begin with a new session. Audio that came in the last one may play to its end."""
        if session == self.session:
            return []
        ended: list[messages.Message] = []
        for item in self._items.values():
            ended += self._end(item)
        self._responses.clear()
        self._items.clear()
        self._texts.clear()
        self.session, self.speech_ms = session, -1
        return ended

    def heard(self, heard: messages.Heard) -> list[messages.Message]:
        """Take playback's report of the playhead. Later flushes do not list items heard whole."""
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
            (i.item_id, i.content_index): i.received for i in heard.items if i.received < LARGEST
        }
        texts: list[messages.Message] = []
        for seen in heard.items:
            item = self._items.get((seen.item_id, seen.content_index))
            # As long as playback does not know that an item is over, a flush has to count the item.
            if item is None or item.heard or seen.broken or not (item.done and seen.done):
                continue
            if seen.heard >= item.received:
                item.heard, item.stopped_at = True, item.received
                texts += self._transcript(item.item_id)
        return texts

    def unfinished(self, heard: messages.Heard) -> frozenset[_Key]:
        """Return the items that are over, as playback reports it, and were not heard to the end."""
        if heard.playing or any(r.active for r in self._responses.values()):
            return frozenset()
        ours = {
            key
            for key, i in self._items.items()
            if not (i.heard or i.truncated or i.out_of_band or self._interrupted(i))
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
                item.stopped_at = seen.heard
                texts += self._transcript(item.item_id)
        return texts

    # server events

    def speech_started(self, event: events.SpeechStarted) -> None:
        """Note that the person began to speak. Whether that ends the reply, the caller decides."""
        self.speech_ms = event.audio_start_ms

    def speech_ended(self) -> None:
        """Note that the person's turn is over."""
        self.speech_ms = -1

    def item_added(self, event: events.ItemAdded) -> None:
        """Note that this process reads an item from its beginning."""
        self._begun[event.item.id] = None
        while len(self._begun) > REMEMBERED:
            self._begun.popitem(last=False)

    def audio(self, event: events.AudioDelta) -> list[messages.Message]:
        """Return the audio to publish. Raises BadAudio for a delta that is not base64."""
        try:
            pcm = binascii.a2b_base64(event.delta, strict_mode=True)
        except ValueError as error:
            raise BadAudio(f"audio of item {event.item_id[:80]} is not base64: {error}") from None
        item = self._item(event)
        if item.odd:
            pcm = item.odd + pcm
        even = len(pcm) & ~1
        item.odd = pcm[even:]
        start = item.received
        item.received += even // 2
        if self._interrupted(item):
            self.stale += even // 2
            return []
        return [
            self._chunk(item, start + at // 2, pcm[at : min(at + CHUNK_BYTES, even)])
            for at in range(0, even, CHUNK_BYTES)
        ]

    def audio_done(self, event: events.AudioDone) -> list[messages.Message]:
        """Return what marks the end of an item's audio."""
        return self._end(self._item(event))

    def response_created(self, response: events.Response) -> None:
        """Note that a response is under way."""
        self._response(response.id, response.out_of_band)

    def response_done(self, done: events.Response) -> list[messages.Message]:
        """Note that a response is over. Return what marks the end of its items.

        A server that sends no ``output_audio.done`` still ends the items with the response.
        """
        self._response(done.id, done.out_of_band).active = False
        ended: list[messages.Message] = []
        for item in self._items.values():
            if item.response_id == done.id:
                ended += self._end(item)
        return ended

    def words_added(
        self, item_id: str, role: Literal["user", "assistant"], delta: str
    ) -> list[messages.Message]:
        """Add words to an item's transcript, and return the transcript."""
        text = self._text(item_id, role)
        if len(text.text) + len(delta) > MAX_TRANSCRIPT:
            return []
        received = max(
            (i.received for i in self._items.values() if i.item_id == item_id), default=0
        )
        near = text.marks and received - text.marks[-1].samples < words.SPACING
        if not near and len(text.marks) < MAX_MARKS:
            text.marks.append(messages.Mark(len(text.text), received))
        text.text += delta
        return self._transcript(item_id)

    def words_final(
        self, item_id: str, role: Literal["user", "assistant"], transcript: str
    ) -> list[messages.Message]:
        """Replace an item's transcript by the final one, and return that."""
        text = self._text(item_id, role)
        if not transcript.startswith(text.text):
            # An earlier downlink read the first words. If the words that came here are the last
            # ones, their marks move along with them; otherwise their place is unknown.
            behind = len(transcript) - len(text.text)
            ends = transcript.endswith(text.text)
            text.marks = [messages.Mark(k.chars + behind, k.samples) for k in text.marks if ends]
        text.text, text.final = transcript[:MAX_TRANSCRIPT], True
        return self._transcript(item_id)

    def confirmed(self, item_id: str) -> None:
        """Note that the server confirmed the truncation or the deletion of an item."""
        for item in self._items.values():
            if item.item_id == item_id:
                item.truncated = True

    # what follows

    def flush(self, cause: str, event_ns: int) -> messages.Flush:
        """Advance the generation, so that nothing of the conversation so far is played any more."""
        self.generation += 1
        self.playing = False
        interrupted: list[str] = []
        active: list[str] = []
        for name, response in self._responses.items():
            if not response.out_of_band:
                if response.active or not response.interrupted:
                    interrupted.append(name)
                if response.active:
                    active.append(name)
                response.interrupted = True
        return messages.Flush(
            generation=self.generation,
            session=self.session,
            cause=cause,
            event_ns=event_ns,
            received=[
                item.counted()
                for item in self._items.values()
                if not (item.heard or item.truncated or item.out_of_band)
            ],
            interrupted=interrupted[-REMEMBERED:],
            active=active[-REMEMBERED:],
        )

    def state(self) -> messages.ReplyState:
        """Return the state to publish."""
        return messages.ReplyState(
            generation=self.generation,
            session=self.session,
            active=[n for n, r in self._responses.items() if r.active][-REMEMBERED:],
            items=[
                messages.ItemState(
                    i.response_id,
                    i.item_id,
                    i.content_index,
                    i.received,
                    i.done,
                    i.truncated,
                    i.out_of_band,
                    i.late,
                )
                for i in self._items.values()
            ],
            speaking=self.speech_ms >= 0,
            speech_ms=max(0, self.speech_ms),
        )

    @property
    def active(self) -> bool:
        """Whether a response of the conversation is under way, so that none can be asked for."""
        return any(r.active and not r.out_of_band for r in self._responses.values())

    @property
    def generating(self) -> bool:
        """Whether a response of the conversation is under way that was not interrupted."""
        return any(
            r.active and not (r.out_of_band or r.interrupted) for r in self._responses.values()
        )

    # helpers

    def _is_out_of_band(self, seen: messages.HeardItem) -> bool:
        item = self._items.get((seen.item_id, seen.content_index))
        return item is not None and item.out_of_band

    def _interrupted(self, item: _Item) -> bool:
        response = self._responses.get(item.response_id)
        return response is not None and response.interrupted

    def _response(self, name: str, out_of_band: bool = False) -> _Response:
        """Return a response. One that is not known began before this process did."""
        response = self._responses.get(name)
        if response is None:
            response = self._responses[name] = _Response(out_of_band)
            while len(self._responses) > REMEMBERED_RESPONSES:
                self._responses.popitem(last=False)
        return response

    def _item(self, event: events.AudioDelta | events.AudioDone) -> _Item:
        key = (event.item_id, event.content_index)
        item = self._items.get(key)
        if item is None:
            from_beginning = event.response_id in self._responses or event.item_id in self._begun
            response = self._response(event.response_id)
            item = self._items[key] = _Item(
                event.response_id, *key, response.out_of_band, response.interrupted
            )
            item.received = self._at_playback.get(key, 0)
            if not (from_beginning or key in self._at_playback):
                # Begin at sample 1, not 0. Playback sees that audio is missing before it: it plays
                # the rest, and counts none of it as heard.
                item.beginning_missing, item.received = True, 1
            while len(self._items) > REMEMBERED:
                self._items.popitem(last=False)
        return item

    def _chunk(
        self, item: _Item, start: int, pcm: bytes, *, last: bool = False
    ) -> messages.Message:
        return messages.ReplyAudio(
            generation=self.generation,
            session=self.session,
            response_id=item.response_id,
            item_id=item.item_id,
            content_index=item.content_index,
            start=start,
            last=last,
            out_of_band=item.out_of_band,
            payload=pcm,
        )

    def _end(self, item: _Item) -> list[messages.Message]:
        if item.done:
            return []
        item.done = True
        item.odd = b""
        if self._interrupted(item):
            return []
        return [self._chunk(item, item.received, b"", last=True)]

    def _text(self, item_id: str, role: Literal["user", "assistant"]) -> _Text:
        text = self._texts.get(item_id)
        if text is None:
            text = self._texts[item_id] = _Text(role)
            while len(self._texts) > REMEMBERED:
                self._texts.popitem(last=False)
        return text

    def _transcript(self, item_id: str) -> list[messages.Message]:
        """Return an item's transcript, split into heard and unheard once the playhead stopped."""
        text = self._texts.get(item_id)
        if text is None:
            return []
        heard = unheard = ""
        item = next((i for i in self._items.values() if i.item_id == item_id), None)
        if item is not None and item.stopped_at >= 0:
            heard, unheard = words.split(
                text.text, text.marks, item.stopped_at, item.received, done=item.done
            )
        return [
            messages.Transcript(
                session=self.session,
                item_id=item_id,
                role=text.role,
                text=text.text,
                final=text.final,
                heard=heard,
                unheard=unheard,
                marks=text.marks,
            )
        ]
