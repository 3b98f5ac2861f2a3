"""One item of the conversation, and the turn that other sessions get in its place. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.downlink import objects
from shared import messages
from shared.realtime import words

#: A longer text is cut here, characters. A call with longer arguments is left out: half of the
#: arguments would be no arguments.
MAX_TEXT = 8_000
#: How much of a text is searched for the words that were heard, characters.
MAX_STORED = 60_000
#: The least that an item counts, characters: an item without words may get words that say so.
SMALLEST = 64

Kind = Literal["message", "function_call", "function_call_output"]
Role = Literal["user", "assistant", "system", ""]
KINDS: dict[str, Kind] = {
    "message": "message",
    "function_call": "function_call",
    "function_call_output": "function_call_output",
}
ROLES: dict[str | None, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


@dataclass
class HistoryItem:
    """One item, and how much of it the person said or heard."""

    item_id: str
    kind: Kind
    role: Role
    session: int  # the session whose conversation has the item; 0: none
    known_as: str  # the item's id in that session
    name: str = ""
    call_id: str = ""
    text: str = ""  # all words that came
    final: bool = False  # no more words will come
    marks: Sequence[messages.Mark] = ()
    speech_ms: int = -1  # how long the person spoke; -1: the item is no speech, or nobody knows
    spoken: bool = False  # the item is the assistant's audio, so only heard words count
    received: int = 0  # samples
    heard: int = 0  # samples
    done: bool = False  # all of the audio came
    settled: bool = False  # the playhead stopped for good
    flushed: bool = False  # a flush cut the item, and playback has not reported where
    provisional: bool = False  # the server mentioned the item, but has not said where it belongs
    # The last turn that was made of the item, and the values that the turn was made of.
    _turn: messages.HistoryTurn | None = None
    _made_of: tuple[object, ...] = ()

    @classmethod
    def of_turn(cls, turn: messages.HistoryTurn) -> HistoryItem:
        """Return the item of a turn that an earlier downlink published.

        Its text has the words heard by then. Nothing else is known of the item, and more may come.
        """
        return cls(
            turn.item_id,
            turn.kind,
            turn.role,
            turn.session,
            turn.known_as,
            turn.name,
            turn.call_id,
            text=turn.text,
            final=turn.told or turn.kind != "function_call",
        )

    @property
    def native(self) -> bool:
        """Whether the session has the item itself, with its audio, and not a turn in its place."""
        return self.known_as == self.item_id

    @property
    def size(self) -> int:
        """How much the item counts, characters."""
        return max(SMALLEST, min(len(self.text), MAX_TEXT))

    def update(self, item: objects.Item, *, done: bool) -> None:
        """Update the item from the server's object. ``done``: the object is the final one."""
        if self.kind == "function_call":
            self.name, self.call_id = (item.name or "")[:512], item.call_id or ""
            arguments = item.arguments or "{}"
            # An interrupted call is left out: the client does not carry it out.
            self.final = done and item.status == "completed" and len(arguments) <= MAX_TEXT
            self.text = arguments if self.final else ""
        elif self.kind == "function_call_output":
            self.call_id, self.text = item.call_id or "", (item.output or "")[: MAX_TEXT + 1]
        elif item.text and not self.final:
            self.text, self.final = item.text[:MAX_STORED], done
        elif self.role == "user" and not any(p.type == "input_audio" for p in item.content or ()):
            # The person sent something without words and without speech: a picture.
            self.final = True

    def turn(self) -> messages.HistoryTurn:
        """Return the turn to publish."""
        made_of = (
            *(self.text, self.final, len(self.marks), self.speech_ms, self.session, self.known_as),
            *(self.spoken, self.heard, self.received, self.done, self.settled, self.flushed),
        )
        if self._turn is None or made_of != self._made_of:
            self._turn, self._made_of = self._make(self._words()), made_of
        return self._turn

    def _words(self) -> str | None:
        """Return the words that another session gets, or None if it gets nothing."""
        if self.kind == "function_call":
            return self.text if self.final else None
        if self.kind == "function_call_output":
            return self.text
        if self.role == "user" and not self.text and not self.final:
            # Without this turn, the reply to it would answer nothing.
            return words.untranscribed(self.speech_ms)
        if self.role == "assistant" and self.spoken:
            # A reply that still plays counts as heard as far as it came. If the person talks over
            # it, the turn is corrected.
            heard = self.heard if self.settled or self.flushed else self.received
            done = self.done and self.final
            said, _ = words.split(self.text, self.marks, heard, self.received, done=done)
            return said.strip() or None
        return self.text.strip() or None

    def _make(self, said: str | None) -> messages.HistoryTurn:
        text = said or ""
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT - 2]} …"
        # The id depends only on the item and its words, so that two processes make the same one.
        digest = hashlib.blake2b(f"{self.item_id}\0{text}".encode(), digest_size=10)
        return messages.HistoryTurn(
            item_id=self.item_id,
            kind=self.kind,
            role=self.role,
            text=text,
            told=said is not None,
            name=self.name,
            call_id=self.call_id,
            session=self.session,
            known_as=self.known_as,
            new_id=f"item_{digest.hexdigest()}",
        )
