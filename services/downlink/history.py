"""The conversation as it was heard: what a new session is given when the connection was lost.

Pure: fed with the server's events, with the transcripts that downlink makes of them and with what
was heard, it gives the turns in their order. Of the person there are the words, where the server
transcribes them; of the assistant the words up to the playhead; calls with what came of them. It is
bounded in turns and in characters, the oldest are dropped first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from services.downlink import events
from shared import messages
from shared.realtime import words

#: What is kept: about an hour of talk, and a small part of what a model can take in.
MAX_TURNS = 200
MAX_CHARS = 32_000
#: A longer text is cut here; a call with longer arguments is not kept, as half of them are none.
MAX_TEXT = 8_000
#: Of a text so much is looked at, to find in it what was heard.
MAX_STORED = 60_000
#: A turn takes no less than this, characters: there may be words that say that there are none.
SMALLEST = 64
#: Things known of items that have not come yet, or may come no more.
REMEMBERED = 64

Kind = Literal["message", "function_call", "function_call_output"]
Role = Literal["user", "assistant", "system", ""]
_KINDS: dict[str, Kind] = {
    "message": "message",
    "function_call": "function_call",
    "function_call_output": "function_call_output",
}
_ROLES: dict[str | None, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


T = TypeVar("T")


@dataclass
class _Entry:
    """One item, and what is known of it."""

    item_id: str
    kind: Kind
    role: Role
    session: int  # the connection whose conversation has it
    held_as: str  # its id there
    name: str = ""
    call_id: str = ""
    text: str = ""  # all that came
    final: bool = False  # no more of the text will come
    marks: Sequence[messages.Mark] = ()
    speech_ms: int = -1  # the person's: how long it is; -1: it was not spoken, or is not known
    spoken: bool = False  # the assistant's: it has audio, so what counts is what was heard
    received: int = 0  # samples
    heard: int = 0  # samples
    done: bool = False  # all of its audio came
    settled: bool = False  # the playhead stands for good
    flushed: bool = False  # it was cut, and playback has not said yet where
    # the last turn that was made of it, and what it was made of
    _turn: messages.Turn | None = None
    _made_of: tuple[object, ...] = ()

    @property
    def native(self) -> bool:
        """Whether the conversation that has it made it: its audio is there, not words of it."""
        return self.held_as == self.item_id

    @property
    def size(self) -> int:
        """How much room it takes, characters, at most."""
        return max(SMALLEST, min(len(self.text), MAX_TEXT))

    def turn(self) -> messages.Turn:
        """Give it as it goes over the bus."""
        made_of = (
            *(self.text, self.final, len(self.marks), self.speech_ms, self.session, self.held_as),
            *(self.spoken, self.heard, self.received, self.done, self.settled, self.flushed),
        )
        if self._turn is None or made_of != self._made_of:
            self._turn, self._made_of = self._made(self._words()), made_of
        return self._turn

    def _words(self) -> str | None:
        """Give what is to be told of it; None where it is left out."""
        if self.kind == "function_call":
            return self.text if self.final else None
        if self.kind == "function_call_output":
            return self.text
        if self.role == "user" and not self.text and not self.final:
            # that somebody spoke is known, and is what an answer answers; what, is not
            spoke = f"spoke for {self.speech_ms / 1000:.1f} s" if self.speech_ms >= 0 else "spoke"
            return f"[the person {spoke}; no transcript]"
        if self.role == "assistant" and self.spoken:
            # what is playing, or will be, is told whole: it is put right when it is talked over
            heard = self.heard if self.settled or self.flushed else self.received
            done = self.done and self.final
            said, _ = words.split(self.text, self.marks, heard, self.received, done=done)
            return said.strip() or None
        return self.text.strip() or None

    def _made(self, said: str | None) -> messages.Turn:
        text = said or ""
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT - 2]} …"
        # of what it is made of, so that who makes it twice makes the same
        digest = hashlib.blake2b(f"{self.item_id}\0{text}".encode(), digest_size=10)
        return messages.Turn(
            item_id=self.item_id,
            kind=self.kind,
            role=self.role,
            text=text,
            told=said is not None,
            name=self.name,
            call_id=self.call_id,
            session=self.session,
            held_as=self.held_as,
            new_id=f"item_{digest.hexdigest()}",
        )


@dataclass
class History:
    """The turns, oldest first. ``session`` is the connection that is spoken over now."""

    session: int = 0
    changed: bool = True  # since the turns were last given
    _entries: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    _made: OrderedDict[str, str] = field(default_factory=OrderedDict)  # new_id → item, as published
    _onsets: OrderedDict[str, int] = field(default_factory=OrderedDict)  # of items to come, ms
    _lengths: OrderedDict[str, int] = field(default_factory=OrderedDict)  # ms
    _waiting: OrderedDict[str, messages.Transcript] = field(default_factory=OrderedDict)

    # what came

    def begin_session(self, session: int) -> None:
        """Begin with another connection, whose conversation is empty."""
        if session != self.session:
            self.session, self.changed = session, True
            self._onsets.clear()

    def relearn(self, kept: Sequence[messages.Turn]) -> None:
        """Learn again what another process knew; what this one knows already is newer."""
        self.changed = True
        known, self._entries = self._entries, OrderedDict()
        for turn in kept:
            # its words are what was heard of it then: nothing more is known, and may come yet
            learnt = _Entry(
                turn.item_id,
                turn.kind,
                turn.role,
                turn.session,
                turn.held_as,
                turn.name,
                turn.call_id,
                text=turn.text,
                final=turn.told or turn.kind != "function_call",
            )
            self._entries[turn.item_id] = known.pop(turn.item_id, learnt)
            _remember(self._made, turn.new_id, turn.item_id, 2 * MAX_TURNS)
        self._entries |= known
        self._trim()

    def speech_started(self, event: events.SpeechStarted) -> None:
        """Note where the speech of a turn begins."""
        _remember(self._onsets, event.item_id, event.audio_start_ms)

    def speech_stopped(self, event: events.SpeechStopped) -> None:
        """Note how long the speech of a turn lasted."""
        onset = self._onsets.pop(event.item_id, event.audio_end_ms)
        _remember(self._lengths, event.item_id, max(0, event.audio_end_ms - onset))

    def item_added(self, event: events.ItemAdded) -> None:
        """Add an item to the conversation."""
        self._item(event.item, event.previous_item_id, done=False)

    def item_done(self, event: events.ItemDone) -> None:
        """Take the final form of an item."""
        self._item(event.item, event.previous_item_id, done=True)

    def item_deleted(self, event: events.ItemDeleted) -> None:
        """Take an item out of the session's conversation."""
        held_as = event.item_id
        self.changed = True
        for entry in self._entries.values():
            if entry.session == self.session and entry.held_as == held_as:
                if entry.native:
                    del self._entries[entry.item_id]
                else:
                    entry.session, entry.held_as = 0, ""
                return

    def transcript(self, transcript: messages.Transcript) -> None:
        """Learn what is said in an item, as far as it has come."""
        entry = self._entries.get(transcript.item_id)
        if entry is None:
            _remember(self._waiting, transcript.item_id, transcript)
            return
        if transcript.final or not entry.final:
            self.changed = True
            # what another downlink has told stays until all of it is told: this one has its end
            entry.text, entry.marks = transcript.text, transcript.marks
            entry.final = entry.final or transcript.final

    def state(self, state: messages.ReplyState) -> None:
        """Learn which items have audio, and how much of it has come."""
        for item in state.items:
            entry = self._entries.get(item.item_id)
            if entry is not None:
                new = not entry.spoken or item.received > entry.received or item.done > entry.done
                self.changed = self.changed or new or item.late
                entry.spoken = True
                entry.received = max(entry.received, item.received)
                entry.done = entry.done or item.done
                if item.late and not entry.settled:
                    entry.settled, entry.heard = True, 0

    def heard(self, heard: messages.Heard) -> None:
        """Learn how far items were heard."""
        for seen in heard.items:
            entry = self._entries.get(seen.item_id)
            if entry is not None and not entry.settled:
                self.changed = self.changed or seen.heard > entry.heard or seen.whole
                entry.heard = max(entry.heard, seen.heard)
                entry.received = max(entry.received, seen.received)
                entry.settled = seen.whole

    def flushed(self, flush: messages.Flush) -> None:
        """Learn that all was cut; how far it was heard is known as far as it was told before."""
        names = {item.item_id for item in flush.received}
        for entry in self._entries.values():
            if entry.spoken and (entry.item_id in names or entry.session != flush.session):
                entry.flushed = self.changed = True

    def flush_report(self, flush_report: messages.FlushReport) -> None:
        """Learn how far the items that a flush ended were heard."""
        for seen in flush_report.items:
            entry = self._entries.get(seen.item_id)
            if entry is not None and not entry.settled:
                self.changed = True
                if not entry.spoken:
                    # learnt from another downlink: playback knows better whether it is all there
                    entry.done = seen.done
                entry.spoken = entry.settled = True
                entry.heard = max(entry.heard, seen.heard)
                entry.received = max(entry.received, seen.received)

    # what is told

    def turns(self) -> list[messages.Turn]:
        """Give the turns as they are now, each output after its call."""
        self.changed = False
        self._trim()
        turns = [entry.turn() for entry in self._entries.values()]
        calls: set[str] = set()
        told: list[messages.Turn] = []
        for turn in turns:
            if turn.kind == "function_call" and turn.told:
                calls.add(turn.call_id)
            if turn.kind != "function_call_output" or turn.call_id in calls:
                told.append(turn)
                _remember(self._made, turn.new_id, turn.item_id, 2 * MAX_TURNS)
        return told

    # how

    def _item(self, item: events.Item, previous: str | None, *, done: bool) -> None:
        kind = _KINDS.get(item.type)
        role = _ROLES.get(item.role, "") if kind == "message" else ""
        if kind is None or (kind == "message" and not role) or not item.id:
            return
        self.changed = True
        ours = self._entries.get(self._made.get(item.id, ""))
        if ours is not None:
            # what uplink put into this session has arrived
            ours.session, ours.held_as = self.session, item.id
            return
        entry = self._entries.get(item.id)
        if entry is None:
            entry = _Entry(item.id, kind, role, self.session, item.id)
            self._place(entry, previous)
            entry.speech_ms = self._lengths.pop(item.id, -1)
        elif entry.kind != kind:
            return
        self._fill(entry, item, done=done)
        waiting = self._waiting.pop(item.id, None)
        if waiting is not None:
            self.transcript(waiting)
        self._trim()

    def _fill(self, entry: _Entry, item: events.Item, *, done: bool) -> None:
        if entry.kind == "function_call":
            entry.name, entry.call_id = (item.name or "")[:512], item.call_id or ""
            arguments = item.arguments or "{}"
            # one that was interrupted was not carried out, and is not told of
            entry.final = done and item.status == "completed" and len(arguments) <= MAX_TEXT
            entry.text = arguments if entry.final else ""
        elif entry.kind == "function_call_output":
            entry.call_id, entry.text = item.call_id or "", (item.output or "")[: MAX_TEXT + 1]
        elif item.text and not entry.final:
            entry.text, entry.final = item.text[:MAX_STORED], done
        elif entry.role == "user" and not any(p.type == "input_audio" for p in item.content or ()):
            # it was written, if it was only a picture
            entry.final = True

    def _place(self, entry: _Entry, previous: str | None) -> None:
        """Put a new entry after the one that the server says it follows, or at the end."""
        self._entries[entry.item_id] = entry
        if previous is None:
            return
        found = behind = False
        for name, known in list(self._entries.items())[:-1]:
            here = known.session == self.session
            # what the session has not, since nothing of it was heard, came before all the same
            if found and (here or behind):
                behind = True
                self._entries.move_to_end(name)
            elif here and known.held_as == previous:
                found = True

    def _trim(self) -> None:
        """Drop the oldest, and every output whose call is not there."""
        total = sum(entry.size for entry in self._entries.values())
        while len(self._entries) > MAX_TURNS or total > MAX_CHARS:
            total -= self._entries.popitem(last=False)[1].size
        calls: set[str] = set()
        for entry in list(self._entries.values()):
            if entry.kind == "function_call":
                calls.add(entry.call_id)
            elif entry.kind == "function_call_output" and entry.call_id not in calls:
                del self._entries[entry.item_id]


def _remember(known: OrderedDict[str, T], name: str, value: T, most: int = REMEMBERED) -> None:
    known[name] = value
    known.move_to_end(name)
    while len(known) > most:
        known.popitem(last=False)
