"""Turn-taking as downlink sees it: what of the server's audio may be played, and when it is over.

Pure: fed with what the server says and what was heard, it gives the messages to publish.
"""

from __future__ import annotations

import binascii
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from services.downlink import events
from shared import messages
from shared.realtime import words

#: The longest stretch of audio in one message: 8192 samples, a third of a second.
STRETCH_BYTES = 16384
#: How many items and responses are remembered, the oldest forgotten first.
REMEMBERED = 64
REMEMBERED_RESPONSES = 512
MAX_TRANSCRIPT = 60_000
MAX_MARKS = 4096
#: What is longer, samples, is no item: sums of it would no longer be a message.
LARGEST = 2**48


class BadAudio(ValueError):
    """Raised when a delta is not base64, or claims a place in an item that cannot be."""


@dataclass
class _Item:
    """One stretch of an assistant's item: its audio content part."""

    response_id: str
    item_id: str
    content_index: int
    out_of_band: bool
    late: bool = False  # it began after its response was interrupted
    received: int = 0  # samples that came from the server
    joined: bool = False  # how it begins was not read, nor told by playback
    odd: bytes = b""  # a byte that waits for its other half
    done: bool = False
    truncated: bool = False
    heard: bool = False  # all of it was heard
    stopped_at: int = -1  # where the playhead stands for good, samples; -1: it may still move


@dataclass
class _Response:
    out_of_band: bool
    active: bool = True
    interrupted: bool = False


@dataclass
class _Text:
    """What is said in an item."""

    role: Literal["user", "assistant"]
    text: str = ""
    final: bool = False
    marks: list[messages.Mark] = field(default_factory=list)


@dataclass
class Turns:
    """The responses, their items, and the generation that says which of them may be heard."""

    generation: int
    session: int = 0
    stale: int = 0  # samples not published, because their response was interrupted
    interrupts: bool = True  # the server's word that the person speaks ends the reply
    playing: bool = False  # a reply of the conversation can be heard
    speech_ms: int = -1  # where the person's turn begins in the session's audio; -1: nobody speaks
    _items: OrderedDict[tuple[str, int], _Item] = field(default_factory=OrderedDict)
    _responses: OrderedDict[str, _Response] = field(default_factory=OrderedDict)
    _texts: OrderedDict[str, _Text] = field(default_factory=OrderedDict)
    # items of which some was received by playback already; and those whose beginning was read
    _before: dict[tuple[str, int], int] = field(default_factory=dict)
    _begun: OrderedDict[str, None] = field(default_factory=OrderedDict)

    # what came

    def begin_session(self, session: int) -> list[messages.Message]:
        """Begin anew with another connection: what has come of the last one may play to its end."""
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
        """Learn what was heard: such items need not be counted when a flush comes."""
        if heard.generation < messages.LAST_GENERATION:
            self.generation = max(self.generation, heard.generation)
        # what a flush has ended, of which playback has not read yet, is as good as silent
        self.playing = (
            heard.playing
            and heard.generation == self.generation
            and any(not (i.whole or self._is_out_of_band(i)) for i in heard.items)
        )
        said: list[messages.Message] = []
        # an item that began before this process did goes on from where playback has it
        self._before = {
            (i.item_id, i.content_index): i.received for i in heard.items if i.received < LARGEST
        }
        for seen in heard.items:
            item = self._items.get((seen.item_id, seen.content_index))
            # with its end still on the way to playback, a flush has to tell of it
            if item is None or item.heard or seen.broken or not (item.done and seen.done):
                continue
            if seen.heard >= item.received:
                item.heard, item.stopped_at = True, item.received
                said += self._tell(item.item_id)
        return said

    def unheard(self, heard: messages.Heard) -> frozenset[tuple[str, int]]:
        """Give the items that are over, as playback has it, and were not heard to their end."""
        if heard.playing or any(r.active for r in self._responses.values()):
            return frozenset()
        ours = {
            key
            for key, i in self._items.items()
            if not (i.heard or i.truncated or i.out_of_band or self._interrupted(i))
        }
        # another downlink's, whose end nobody has read
        keys = {(i.item_id, i.content_index) for i in heard.items if not (i.whole or i.cut)}
        return frozenset(ours | (keys - self._items.keys()))

    def flush_report(self, flush_report: messages.FlushReport) -> list[messages.Message]:
        """Learn how far the items that a flush ended were heard: their words are now known."""
        said: list[messages.Message] = []
        for seen in flush_report.items:
            item = self._items.get((seen.item_id, seen.content_index))
            if item is not None and item.stopped_at < 0:
                item.stopped_at = seen.heard
                said += self._tell(item.item_id)
        return said

    def read(self, event: events.Event, received_ns: int) -> list[messages.Message]:
        """Give what an event leads to, in the order in which to publish it.

        ``received_ns`` is when it came from the server. Raises BadAudio for audio that is none.
        """
        if isinstance(event, events.SpeechStarted):
            self.speech_ms = event.audio_start_ms
        elif isinstance(event, events.SpeechStopped | events.Committed):
            self.speech_ms = -1
        match event:
            case events.AudioDelta():
                return self._audio(event)
            case events.ItemAdded():
                self._begun[event.item.id] = None
                while len(self._begun) > REMEMBERED:
                    self._begun.popitem(last=False)
            case events.SpeechStarted() if self.interrupts:
                return [self.flush("speech_started", received_ns)]
            case events.AudioDone():
                return self._end(self._item(event))
            case events.ResponseCreated():
                self._response(event.response.id, event.response.out_of_band)
                return []
            case events.ResponseDone():
                return self._done(event.response)
            case events.TextDelta():
                return self._add(event.item_id, "assistant", event.delta)
            case events.TranscriptDone():
                return self._whole(event.item_id, "assistant", event.transcript)
            case events.TextDone():
                return self._whole(event.item_id, "assistant", event.text)
            case events.UserTranscriptDelta():
                return self._add(event.item_id, "user", event.delta or "")
            case events.UserTranscript():
                return self._whole(event.item_id, "user", event.transcript)
            case events.ItemTruncated() | events.ItemDeleted():
                for (item_id, _), item in self._items.items():
                    if item_id == event.item_id:
                        item.truncated = True
        return []

    def flush(self, cause: str, event_ns: int) -> messages.Flush:
        """Advance the generation: nothing of the conversation that came before is played again."""
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
                messages.Received(i.item_id, i.content_index, i.received, i.done, i.joined)
                for i in self._items.values()
                if not (i.heard or i.truncated or i.out_of_band)
            ],
            interrupted=interrupted[-REMEMBERED:],
            active=active[-REMEMBERED:],
        )

    def state(self) -> messages.ReplyState:
        """Give the state to publish."""
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
        """Whether a response of the conversation is not done: no other can be asked for."""
        return any(r.active and not r.out_of_band for r in self._responses.values())

    @property
    def generating(self) -> bool:
        """Whether one is under way that was not interrupted."""
        return any(
            r.active and not (r.out_of_band or r.interrupted) for r in self._responses.values()
        )

    # how

    def _is_out_of_band(self, seen: messages.HeardItem) -> bool:
        item = self._items.get((seen.item_id, seen.content_index))
        return item is not None and item.out_of_band

    def _interrupted(self, item: _Item) -> bool:
        response = self._responses.get(item.response_id)
        return response is not None and response.interrupted

    def _response(self, name: str, out_of_band: bool = False) -> _Response:
        """Give what is known of a response; one that is not known began before this process did."""
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
            known = event.response_id in self._responses or event.item_id in self._begun
            response = self._response(event.response_id)
            item = self._items[key] = _Item(
                event.response_id, *key, response.out_of_band, response.interrupted
            )
            item.received = self._before.get(key, 0)
            item.joined = not (known or key in self._before)
            while len(self._items) > REMEMBERED:
                self._items.popitem(last=False)
        return item

    def _audio(self, event: events.AudioDelta) -> list[messages.Message]:
        try:
            pcm = binascii.a2b_base64(event.delta, strict_mode=True)
        except ValueError as error:
            raise BadAudio(f"audio of item {event.item_id[:80]} is not base64: {error}") from None
        item = self._item(event)
        response = self._response(event.response_id)
        if item.odd:
            pcm = item.odd + pcm
        whole = len(pcm) & ~1
        item.odd = pcm[whole:]
        start = item.received
        item.received += whole // 2
        if response.interrupted:
            self.stale += whole // 2
            return []
        return [
            self._stretch(item, start + at // 2, pcm[at : min(at + STRETCH_BYTES, whole)])
            for at in range(0, whole, STRETCH_BYTES)
        ]

    def _stretch(
        self, item: _Item, start: int, pcm: bytes, *, last: bool = False
    ) -> messages.ReplyAudio:
        return messages.ReplyAudio(
            generation=self.generation,
            session=self.session,
            response_id=item.response_id,
            item_id=item.item_id,
            content_index=item.content_index,
            start=start,
            last=last,
            out_of_band=item.out_of_band,
            joined=item.joined,
            payload=pcm,
        )

    def _end(self, item: _Item) -> list[messages.Message]:
        if item.done:
            return []
        item.done = True
        item.odd = b""
        if self._interrupted(item):
            return []
        return [self._stretch(item, item.received, b"", last=True)]

    def _done(self, done: events.Response) -> list[messages.Message]:
        response = self._response(done.id, done.out_of_band)
        response.active = False
        ended: list[messages.Message] = []
        # a server that leaves output_audio.done out still ends its items with the response
        for item in self._items.values():
            if item.response_id == done.id:
                ended += self._end(item)
        return ended

    def _text(self, item_id: str, role: Literal["user", "assistant"]) -> _Text:
        text = self._texts.get(item_id)
        if text is None:
            text = self._texts[item_id] = _Text(role)
            while len(self._texts) > REMEMBERED:
                self._texts.popitem(last=False)
        return text

    def _add(
        self, item_id: str, role: Literal["user", "assistant"], delta: str
    ) -> list[messages.Message]:
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
        return self._tell(item_id)

    def _whole(
        self, item_id: str, role: Literal["user", "assistant"], transcript: str
    ) -> list[messages.Message]:
        text = self._text(item_id, role)
        if not transcript.startswith(text.text):
            # another downlink read how it began: what came here is its end, or is not known to be
            behind = len(transcript) - len(text.text)
            ends = transcript.endswith(text.text)
            text.marks = [messages.Mark(k.chars + behind, k.samples) for k in text.marks if ends]
        text.text, text.final = transcript[:MAX_TRANSCRIPT], True
        return self._tell(item_id)

    def _tell(self, item_id: str) -> list[messages.Message]:
        """Give an item's transcript, in heard and unheard parts where the playhead stands still."""
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
