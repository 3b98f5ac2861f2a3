"""The content of the console, from the messages on the bus. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from commands import phrases
from commands.screen.captions import Caption, Captions, Cuts
from commands.screen.faults import Faults
from shared import codec, messages, registry
from shared.audio import pcm
from shared.oldest import drop_oldest

#: How many entries of the conversation are kept.
REMEMBERED = 500
#: A meter falls by this much a second, dB, so that a person can read it.
FALL_DB = 30.0
#: The quietest level that a meter shows, dBFS.
QUIET_DB = -60.0
#: After this long without sound of a side, s, its meter has no level.
STALE_S = 1.0

#: The steps of a function call, in order.
STEPS = ("asking", "answered", "queued", "running", "done")
Who = Literal["you", "assistant", "function", "cut", "fault", "note"]


@dataclass(frozen=True)
class Entry:
    """One entry of the conversation."""

    key: str
    who: Who
    text: str
    #: The words of a reply that will not be heard.
    unheard: str = ""
    #: Insert this entry before that one; "": at the end. A turn's transcript can come after its
    #: answer has begun, because the server answers the turn while it transcribes it.
    before: str = ""
    #: How far a function call is: the place in STEPS. The bus has no order between the states of
    #: calls and their results.
    step: int = 0


class Meter:
    """The level of one side."""

    def __init__(self) -> None:
        self._peak_db = QUIET_DB
        self._at_s = -STALE_S

    def take(self, frame: bytes, now_s: float) -> None:
        """Take a frame of sound."""
        self._peak_db = max(self.level_db(now_s), pcm.dbfs(frame))
        self._at_s = now_s

    def level_db(self, now_s: float) -> float:
        """Return the level now, dBFS; QUIET_DB for none."""
        passed_s = now_s - self._at_s
        if passed_s > STALE_S:
            return QUIET_DB
        return max(QUIET_DB, self._peak_db - FALL_DB * passed_s)

    def bar(self, width: int, now_s: float) -> str:
        """Return the level as a bar of ``width`` cells."""
        filled = math.ceil(width * (self.level_db(now_s) - QUIET_DB) / -QUIET_DB)
        return "█" * filled + "░" * (width - filled)


class Model:
    """The state of the conversation, as far as the console shows it."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.you, self.assistant = Meter(), Meter()
        self.link: messages.LinkState | None = None
        self.usage: messages.Usage | None = None
        self.calls: list[messages.ToolRun] = []
        self.muted = False
        self.volume = 100
        self.talking = False  # whether the button of push to talk is pressed
        self._changed: OrderedDict[str, None] = OrderedDict()  # keys of entries that changed
        self._number = 0
        self._captions = Captions()
        self._cuts = Cuts()
        self._faults = Faults()
        self._speaking = self._playing = self._answering = False
        self._has_history = False  # whether what was said before is shown
        self._answer = ""  # the first reply since the person last spoke
        self._methods: dict[type[messages.Message], Callable[[Any, float], None]] = {
            messages.Transcript: self._transcript,
            messages.Heard: self._heard,
            messages.Interruption: self._interruption,
            messages.LinkState: self._link,
            messages.ReplyState: self._reply_state,
            messages.TurnDecision: self._turn_decision,
            messages.ToolState: self._tool_state,
            messages.ToolResult: self._tool_result,
            messages.Usage: self._usage,
            messages.MicClean: self._mic,
            messages.SpeakerFrame: self._speaker,
            messages.Panel: self._panel,
            messages.History: self._history,
        }

    @property
    def asking(self) -> messages.ToolRun | None:
        """The first call that waits for a person's approval."""
        return next((run for run in self.calls if run.state == "asking"), None)

    def take(self, topic: registry.Topic, message: messages.Message, now_s: float) -> None:
        """Take a message."""
        if isinstance(message, messages.Health):
            self._show(self._faults.health(topic.publisher, message, now_s))
        elif method := self._methods.get(type(message)):
            method(message, now_s)

    def tick(self, now_s: float) -> None:
        """Let the meters fall, and end waits that are over; to be called a few times a second."""
        self._show(self._faults.due(now_s))
        for record in self._cuts.due(self._captions, now_s):
            self.add("cut", phrases.interruption(record))

    def changes(self) -> list[Entry]:
        """Return the entries that are new or have changed since the last call."""
        changed, self._changed = self._changed, OrderedDict()
        return [self.entries[key] for key in changed if key in self.entries]

    def add(self, who: Who, text: str) -> None:
        """Add an entry that does not change."""
        self._number += 1
        self._put(Entry(f"#{self._number}", who, text))

    def state(self) -> str:
        """Return in words what the conversation does now."""
        if self.link is None:
            return "no conversation: start one with bin/start"
        if self.link.state != "open":
            return phrases.link(self.link)
        if self.asking is not None:
            return "a function waits for your approval"
        if self._speaking:
            return "hearing you"
        if self.calls:
            return "calling " + ", ".join(dict.fromkeys(run.name for run in self.calls))
        if self._playing:
            return "speaking"
        if self._answering:
            return "thinking"
        return "muted" if self.muted else "listening"

    # messages

    def _transcript(self, message: messages.Transcript, _now_s: float) -> None:
        self._show_captions(self._captions.transcript(message))

    def _heard(self, message: messages.Heard, _now_s: float) -> None:
        self._playing = message.playing
        self._show_captions(self._captions.heard(message))

    def _interruption(self, message: messages.Interruption, now_s: float) -> None:
        self._cuts.take(message, now_s)

    def _link(self, message: messages.LinkState, now_s: float) -> None:
        self.link = message
        self._show(self._faults.link(message, now_s))

    def _reply_state(self, message: messages.ReplyState, _now_s: float) -> None:
        if message.speaking:
            self._answer = ""
        self._speaking, self._answering = message.speaking, bool(message.active)

    def _turn_decision(self, message: messages.TurnDecision, _now_s: float) -> None:
        self.talking = message.talk

    def _tool_state(self, message: messages.ToolState, _now_s: float) -> None:
        before, self.calls = self.calls, message.calls
        entries = [_call(run) for run in message.calls]
        for entry in entries:
            self._put(entry)
        listed = {entry.key for entry in entries}
        for run in before:
            old = _call(run)
            if old.key not in listed and self.entries.get(old.key) == old:
                # Its result comes next, unless tools was started again.
                self._put(replace(old, text=f"{run.summary or run.name}: ended"))

    def _tool_result(self, message: messages.ToolResult, _now_s: float) -> None:
        if said := phrases.result(message):
            step = "answered" if message.what == "approval" else "done"
            self._put(Entry(message.call_id, "function", said, step=STEPS.index(step)))

    def _usage(self, message: messages.Usage, _now_s: float) -> None:
        self.usage = message

    def _mic(self, message: messages.MicClean, now_s: float) -> None:
        self.you.take(message.payload, now_s)

    def _speaker(self, message: messages.SpeakerFrame, now_s: float) -> None:
        self.assistant.take(message.payload, now_s)

    def _panel(self, message: messages.Panel, _now_s: float) -> None:
        self.muted, self.volume = message.muted, message.volume

    def _history(self, message: messages.History, _now_s: float) -> None:
        """Show what was said before the console began to listen."""
        if self._has_history:
            return
        self._has_history = True
        try:
            turns = codec.read_turns(message.payload)
        except codec.BadMessage:
            return
        names: dict[str, Who] = {"user": "you", "assistant": "assistant"}
        for turn in turns:
            who = names.get(turn.role) if turn.kind == "message" and turn.text else None
            if who is not None and turn.item_id not in self.entries:
                self._put(Entry(turn.item_id, who, turn.text))

    # entries

    def _show_captions(self, captions: list[Caption]) -> None:
        for caption in captions:
            if caption.text or caption.unheard:
                key = caption.item_id
                if caption.role == "user":
                    before, self._answer = self._answer, ""
                    known = self.entries.get(key)
                    before = known.before if known else before
                    self._put(Entry(key, "you", caption.text, before=before))
                else:
                    self._answer = self._answer or key
                    self._put(Entry(key, "assistant", caption.text, caption.unheard))

    def _show(self, faults: list[str]) -> None:
        for fault in faults:
            self.add("fault", fault)

    def _put(self, entry: Entry) -> None:
        known = self.entries.get(entry.key)
        if known is not None and (known == entry or known.step > entry.step):
            return
        self.entries[entry.key] = entry
        self._changed[entry.key] = None
        drop_oldest(self.entries, REMEMBERED)


def _call(run: messages.ToolRun) -> Entry:
    """Return the entry of a call that has no output yet."""
    words = {"queued": "waits", "running": "runs", "asking": "waits for your approval"}
    text = f"{run.summary or run.name}: {words[run.state]}"
    return Entry(run.call_id, "function", text, step=STEPS.index(run.state))
