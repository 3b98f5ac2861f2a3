"""The text that the assistant says next, and the words of its last reply that were heard.

The first response of a conversation without user items is the greeting. All other responses are the
replies of the voice in turn. After an interruption, the next reply says so and repeats the last
words that the server believes were heard, cut exactly at the ``audio_end_ms`` of the client's
truncate. A wrong truncate is therefore audible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.emulator.clips import RATE, Piece, Utterance, Voice, VoiceError, Word, join
from services.emulator.conversation import Item
from services.emulator.tone import Tone

#: The number of heard words that are repeated after an interruption, at most.
REPEATED_WORDS: Final = 5
#: The length of a "word" of the tone, ms. Each word in the tone's transcript is its position in ms.
_TONE_WORD_MS: Final = 500
#: The number of characters of a function's output that the transcript of the reply quotes, at most.
_LONGEST_OUTPUT: Final = 400


@dataclass
class Spoken:
    """A spoken reply of the conversation, and whether it was interrupted."""

    response_id: str
    items: list[Item] = field(default_factory=list)
    #: Whether the person spoke during the reply, or the client cancelled, truncated or deleted it.
    interrupted: bool = False

    def last_heard(self) -> tuple[Item, int] | None:
        """Return the last item of which a word was heard, and how much of it was heard, ms."""
        for item in reversed(self.items):
            timeline = item.timeline
            if item.deleted or timeline is None:
                continue
            if timeline.utterance.last_words(timeline.heard_ms, 1) is not None:
                return item, timeline.heard_ms
        return None

    def heard(self) -> str:
        """Return the words of all items that the server believes were heard."""
        return " ".join(
            words
            for item in self.items
            if item.timeline is not None and not item.deleted
            if (words := item.timeline.utterance.heard(item.timeline.heard_ms))
        )


class Replies:
    """Chooses what the assistant says. Each session has its own, and begins with the greeting."""

    def __init__(self, reply: str, voice: Voice | None) -> None:
        """Use the replies that the option ``--reply`` names.

        ``voice`` may be None if ``reply`` is a tone. Raises VoiceError if there is no such clip.
        """
        self._kind, _, self._argument = reply.partition(":")
        self._voice = voice
        self._turn = 0
        if self._kind == "clip":
            self._clip(self._argument)

    def next(self, *, greeting: bool, last: Spoken | None) -> Utterance:
        """Return the next reply of the conversation, which may follow on ``last``."""
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
        words = item.timeline.utterance.last_words(end_ms, REPEATED_WORDS)
        assert words is not None
        repeated = Utterance(f"{item.id}..{end_ms}", words.pieces, words.words)
        return join(
            [self._clip(index.stopped), repeated, self._clip(index.onward), self._clip(name)]
        )

    def out_of_band(self) -> Utterance:
        """Return the speech of an out-of-band response. It does not use up a reply."""
        return self._clip("acknowledge") if self._voice else tone(1.0)

    def commentary(self) -> Utterance:
        """Return the remark that comes before an answer."""
        return self._clip("commentary") if self._voice else tone(1.0)

    def output(self, text: str) -> Utterance:
        """Return the reply to a function's output. Only its transcript contains the output."""
        said = self._clip("function") if self._voice else tone(1.0)
        end = said.samples * 1000 // RATE
        # These words have no audio. They get the time of the clip's end, so that they count as
        # heard only if the whole clip was heard.
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
    """Return the rising tone. Its transcript has a word per half second: the position in ms."""
    source = Tone(round(seconds * RATE))
    end = source.samples * 1000 // RATE
    starts: Sequence[int] = range(0, end, _TONE_WORD_MS)
    words = tuple(Word(str(at), at, min(at + _TONE_WORD_MS, end)) for at in starts)
    return Utterance(f"tone of {seconds:g} s", (Piece(source, 0, source.samples),), words)
