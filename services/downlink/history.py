"""The conversation as the person heard it, which a new session gets. Pure.

``History`` is fed with server events, with downlink's transcripts and with what playback reports,
and returns the turns in their order: the person's words if the server transcribes them, the
assistant's words up to the playhead, and calls with their outputs. The number of turns and of
characters is limited; the oldest turns are dropped first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from services.downlink import events, objects
from services.downlink.history_item import KINDS, ROLES, HistoryItem
from shared import messages
from shared.oldest import drop_oldest

#: The most turns and characters: about an hour of talk, and a small part of what a model can read.
MAX_TURNS = 200
MAX_CHARS = 32_000
#: How many facts are remembered about items that have not come yet, and may never come.
REMEMBERED = 64

T = TypeVar("T")


@dataclass
class History:
    """The items, oldest first. ``session`` is the session that is open now."""

    session: int = 0
    changed: bool = True  # since `turns` was last called
    _items: OrderedDict[str, HistoryItem] = field(default_factory=OrderedDict)
    # uplink may give an item a new id in another session. By that id: the item's own id.
    _published: OrderedDict[str, str] = field(default_factory=OrderedDict)
    # For items that have not come yet: where the speech began, how long it was (ms), and its words.
    _onsets: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _lengths: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _waiting: OrderedDict[str, messages.Transcript] = field(default_factory=OrderedDict)

    # sessions

    def begin_session(self, session: int) -> None:
        """Begin with a new session, whose conversation is empty."""
        if session != self.session:
            self.session, self.changed = session, True
            self._onsets.clear()

    def relearn(self, saved: Sequence[messages.HistoryTurn]) -> None:
        """Put the turns of an earlier downlink before this one's own, which are newer."""
        self.changed = True
        known, self._items = self._items, OrderedDict()
        for turn in saved:
            self._items[turn.item_id] = known.pop(turn.item_id, HistoryItem.of_turn(turn))
            _remember(self._published, turn.new_id, turn.item_id, 2 * MAX_TURNS)
        self._items |= known
        self._trim()

    # server events

    def speech_started(self, event: events.SpeechStarted) -> None:
        """Note where the speech of a turn begins."""
        if event.audio_start_ms is not None:
            _remember(self._onsets, event.item_id, event.audio_start_ms)

    def speech_stopped(self, event: events.SpeechStopped) -> None:
        """Note how long the speech of a turn lasted."""
        if event.audio_end_ms is None:
            return
        onset = self._onsets.pop(event.item_id, event.audio_end_ms)
        _remember(self._lengths, event.item_id, max(0, event.audio_end_ms - onset))

    def item_added(self, event: events.ItemAdded) -> None:
        """Add an item to the conversation."""
        self._take(event.item, event.previous_item_id, done=False)

    def item_done(self, event: events.ItemDone) -> None:
        """Take the final form of an item."""
        self._take(event.item, event.previous_item_id, done=True)

    def knows(self, item_id: str) -> bool:
        """Return whether the conversation has an item."""
        return item_id in self._items

    def mentioned(
        self, item: objects.Item, previous: str | None = None, *, done: bool = False
    ) -> None:
        """Add an item that the server has only mentioned, unless the item is known.

        Some servers add items without ``conversation.item.added``. If that event follows, it says
        where the item belongs.
        """
        entry = self._items.get(item.id)
        if entry is None or entry.provisional:
            self._take(item, previous, done=done, provisional=True)

    def item_deleted(self, event: events.ItemDeleted) -> None:
        """Take an item out of the session's conversation."""
        known_as = event.item_id
        self.changed = True
        for entry in self._items.values():
            if entry.session == self.session and entry.known_as == known_as:
                if entry.native:
                    del self._items[entry.item_id]
                else:
                    entry.session, entry.known_as = 0, ""
                return

    # what downlink publishes and playback reports

    def transcript(self, transcript: messages.Transcript) -> None:
        """Take the words of an item so far."""
        entry = self._items.get(transcript.item_id)
        if entry is None:
            _remember(self._waiting, transcript.item_id, transcript)
            return
        if transcript.final or not entry.final:
            self.changed = True
            # Words that an earlier downlink published stay until the final transcript comes: this
            # downlink may have read only the last words.
            entry.text, entry.marks = transcript.text, transcript.marks
            entry.final = entry.final or transcript.final

    def reply_state(self, state: messages.ReplyState) -> None:
        """Note which items have audio, and how much of it came."""
        for item in state.items:
            entry = self._items.get(item.item_id)
            if entry is not None:
                new = not entry.spoken or item.received > entry.received or item.done > entry.done
                self.changed = self.changed or new or item.late
                entry.spoken = True
                entry.received = max(entry.received, item.received)
                entry.done = entry.done or item.done
                if item.late and not entry.settled:
                    entry.settled, entry.heard = True, 0

    def heard(self, heard: messages.Heard) -> None:
        """Note how far items were heard."""
        for seen in heard.items:
            entry = self._items.get(seen.item_id)
            if entry is not None and not entry.settled:
                self.changed = self.changed or seen.heard > entry.heard or seen.whole
                entry.heard = max(entry.heard, seen.heard)
                entry.received = max(entry.received, seen.received)
                entry.settled = seen.whole

    def flushed(self, flush: messages.Flush) -> None:
        """Note that a flush cut all items. Until its report, the last playhead counts."""
        names = {item.item_id for item in flush.received}
        for entry in self._items.values():
            if entry.spoken and (entry.item_id in names or entry.session != flush.session):
                entry.flushed = self.changed = True

    def flush_report(self, flush_report: messages.FlushReport) -> None:
        """Note how far the items that a flush ended were heard."""
        for seen in flush_report.items:
            entry = self._items.get(seen.item_id)
            if entry is not None and not entry.settled:
                self.changed = True
                if not entry.spoken:
                    # The item is an earlier downlink's: only playback knows whether all came.
                    entry.done = seen.done
                entry.spoken = entry.settled = True
                entry.heard = max(entry.heard, seen.heard)
                entry.received = max(entry.received, seen.received)

    # what follows

    def turns(self) -> list[messages.HistoryTurn]:
        """Return the turns as they are now, each output after its call."""
        self.changed = False
        self._trim()
        turns = [entry.turn() for entry in self._items.values()]
        calls: set[str] = set()
        listed: list[messages.HistoryTurn] = []
        for turn in turns:
            if turn.kind == "function_call" and turn.told:
                calls.add(turn.call_id)
            if turn.kind != "function_call_output" or turn.call_id in calls:
                listed.append(turn)
                _remember(self._published, turn.new_id, turn.item_id, 2 * MAX_TURNS)
        return listed

    # helpers

    def _take(
        self, item: objects.Item, previous: str | None, *, done: bool, provisional: bool = False
    ) -> None:
        kind = KINDS.get(item.type)
        role = ROLES.get(item.role, "") if kind == "message" else ""
        if kind is None or (kind == "message" and not role) or not item.id:
            return
        self.changed = True
        restored = self._items.get(self._published.get(item.id, ""))
        if restored is not None:
            # A turn that uplink put into this session has arrived there.
            restored.session, restored.known_as = self.session, item.id
            return
        entry = self._items.get(item.id)
        if entry is None:
            entry = HistoryItem(item.id, kind, role, self.session, item.id)
            entry.provisional = provisional
            self._place(entry, previous)
            entry.speech_ms = self._lengths.pop(item.id, -1)
        elif entry.kind != kind:
            return
        elif entry.provisional and not provisional:
            entry.provisional = False
            if previous is not None:
                del self._items[item.id]
                self._place(entry, previous)
        entry.update(item, done=done)
        waiting = self._waiting.pop(item.id, None)
        if waiting is not None:
            self.transcript(waiting)
        self._trim()

    def _place(self, entry: HistoryItem, previous: str | None) -> None:
        """Put a new item after the one that the server names, or at the end."""
        self._items[entry.item_id] = entry
        if previous is None:
            return
        found = after = False
        for name, known in list(self._items.items())[:-1]:
            here = known.session == self.session
            # Items of which nothing was heard are not in this session. Those that follow the item
            # that the server names stay before the new item.
            if found and (here or after):
                after = True
                self._items.move_to_end(name)
            elif here and known.known_as == previous:
                found = True

    def _trim(self) -> None:
        """Drop the oldest items, and each output without its call."""
        total = sum(entry.size for entry in self._items.values())
        while len(self._items) > MAX_TURNS or total > MAX_CHARS:
            total -= self._items.popitem(last=False)[1].size
        calls: set[str] = set()
        for entry in list(self._items.values()):
            if entry.kind == "function_call":
                calls.add(entry.call_id)
            elif entry.kind == "function_call_output" and entry.call_id not in calls:
                del self._items[entry.item_id]


def _remember(known: OrderedDict[str, T], name: str, value: T, most: int = REMEMBERED) -> None:
    known[name] = value
    known.move_to_end(name)
    drop_oldest(known, most)
