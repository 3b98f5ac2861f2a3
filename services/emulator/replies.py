"""What is said next, and what of the last reply was heard.

The first response of a conversation that holds no user's item is the greeting; the others are the
voice's replies in turn. After an interruption the next reply says so and plays back the last words
the server believes were heard, cut exactly where it was told: a wrong truncate can be heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.emulator.clips import RATE, Piece, Utterance, Voice, VoiceError, Word, join
from services.emulator.conversation import Item
from services.emulator.tone import Tone

#: Words played back after an interruption, at most.
PLAYED_BACK: Final = 5
#: A tone's transcript is its position in ms, so often.
_TONE_WORD_MS: Final = 500
#: Said in writing where a function's output is longer, characters.
_LONGEST_OUTPUT: Final = 400


@dataclass
class Spoken:
    """A spoken reply of the conversation, and what happened to it."""

    response_id: str
    items: list[Item] = field(default_factory=list)
    #: It was talked over, cut or cancelled.
    interrupted: bool = False

    def last_heard(self) -> tuple[Item, int] | None:
        """Give the last item of which a word was heard, and up to where, ms."""
        for item in reversed(self.items):
            timeline = item.timeline
            if item.deleted or timeline is None:
                continue
            if timeline.utterance.last_words(timeline.heard_ms, 1) is not None:
                return item, timeline.heard_ms
        return None

    def heard(self) -> str:
        """Give the words the server believes were heard, of all its items."""
        return " ".join(
            words
            for item in self.items
            if item.timeline is not None and not item.deleted
            if (words := item.timeline.utterance.heard(item.timeline.heard_ms))
        )


class Replies:
    """Chooses what is said; one for each session, because the replies come in turn."""

    def __init__(self, reply: str, voice: Voice | None) -> None:
        """Take ``--reply`` and the voice, which only a tone can do without. Raises VoiceError."""
        self._kind, _, self._argument = reply.partition(":")
        self._voice = voice
        self._turn = 0
        if self._kind == "clip":
            self._clip(self._argument)

    def next(self, *, greeting: bool, last: Spoken | None) -> Utterance:
        """Give the next reply of the conversation."""
        if self._kind == "tone":
            return tone(float(self._argument))
        if self._kind == "clip":
            return self._clip(self._argument)
        index = self._speech.index
        if greeting:
            return self._clip(index.greeting)
        name = index.replies[self._turn % len(index.replies)]
        self._turn += 1
        if last is None or not last.interrupted:
            return self._clip(name)
        heard = last.last_heard()
        if heard is None:
            return join([self._clip(index.stopped_unheard), self._clip(name)])
        item, end_ms = heard
        assert item.timeline is not None
        words = item.timeline.utterance.last_words(end_ms, PLAYED_BACK)
        assert words is not None
        played = Utterance(f"{item.id}..{end_ms}", words.pieces, words.words)
        return join([self._clip(index.stopped), played, self._clip(index.onward), self._clip(name)])

    def aside(self) -> Utterance:
        """Give what an out-of-band response says; the replies' turn does not move."""
        return self._clip("acknowledge") if self._voice else tone(1.0)

    def commentary(self) -> Utterance:
        """Give the remark ahead of an answer."""
        return self._clip("commentary") if self._voice else tone(1.0)

    def output(self, text: str) -> Utterance:
        """Give the reply to a function's output: a clip, and the output in the transcript only."""
        said = self._clip("function") if self._voice else tone(1.0)
        end = said.samples * 1000 // RATE
        # What has no audio stands at its end, where it counts as heard only with all of it.
        unspoken = tuple(Word(word, end, end) for word in text[:_LONGEST_OUTPUT].split())
        return Utterance(said.label, said.pieces, said.words + unspoken)

    @property
    def _speech(self) -> Voice:
        if self._voice is None:
            raise VoiceError("no voice was loaded")
        return self._voice

    def _clip(self, name: str) -> Utterance:
        return self._speech.say(name)


def tone(seconds: float) -> Utterance:
    """Give the rising tone; every half second its transcript has a word, the position in ms."""
    source = Tone(round(seconds * RATE))
    end = source.samples * 1000 // RATE
    starts: Sequence[int] = range(0, end, _TONE_WORD_MS)
    words = tuple(Word(str(at), at, min(at + _TONE_WORD_MS, end)) for at in starts)
    return Utterance(f"tone of {seconds:g} s", (Piece(source, 0, source.samples),), words)
