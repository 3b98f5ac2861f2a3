"""The words of each item, and where they are in its audio. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from services.downlink.audio_item import AudioItem
from shared import messages
from shared.oldest import drop_oldest
from shared.realtime import words

#: How many transcripts are remembered. The oldest is forgotten first.
REMEMBERED = 64
#: The longest transcript (characters) and the most marks that fit into one message.
MAX_TRANSCRIPT = 60_000
MAX_MARKS = 4096

Role = Literal["user", "assistant"]


@dataclass
class _Text:
    """The transcript of an item so far."""

    role: Role
    text: str = ""
    final: bool = False
    written: bool = False  # nobody speaks the item
    marks: list[messages.Mark] = field(default_factory=list)


class Transcripts:
    """The transcripts of a session's items."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, _Text] = OrderedDict()

    def clear(self) -> None:
        """Forget all transcripts."""
        self._texts.clear()

    def add(
        self, item_id: str, role: Role, delta: str, received: int, *, written: bool = False
    ) -> bool:
        """Add words to a transcript. Return False if it would become too long.

        ``received``: how much of the item's audio came before the words, samples.
        """
        text = self._text(item_id, role)
        if len(text.text) + len(delta) > MAX_TRANSCRIPT:
            return False
        near = text.marks and received - text.marks[-1].samples < words.SPACING
        if not near and len(text.marks) < MAX_MARKS:
            text.marks.append(messages.Mark(len(text.text), received))
        text.text += delta
        text.written = written
        return True

    def finish(self, item_id: str, role: Role, transcript: str, *, written: bool = False) -> None:
        """Replace a transcript by the final one."""
        text = self._text(item_id, role)
        if not transcript.startswith(text.text):
            # An earlier downlink read the first words. If the words that came here are the last
            # ones, their marks move along with them; otherwise their place is unknown.
            before = len(transcript) - len(text.text)
            ends = transcript.endswith(text.text)
            text.marks = [messages.Mark(k.chars + before, k.samples) for k in text.marks if ends]
        text.text, text.final, text.written = transcript[:MAX_TRANSCRIPT], True, written

    def message(
        self, session: int, item_id: str, audio: AudioItem | None, begun_ns: int = 0
    ) -> list[messages.Message]:
        """Return a transcript as a message, or nothing if the item has none.

        It is split into heard and unheard words once the playhead of ``audio`` stopped.
        """
        text = self._texts.get(item_id)
        if text is None:
            return []
        heard = unheard = ""
        if audio is not None and audio.stopped_at >= 0:
            heard, unheard = words.split(
                text.text, text.marks, audio.stopped_at, audio.received, done=audio.done
            )
        return [
            messages.Transcript(
                session=session,
                item_id=item_id,
                role=text.role,
                text=text.text,
                final=text.final,
                heard=heard,
                unheard=unheard,
                marks=text.marks,
                written=text.written,
                begun_ns=begun_ns,
            )
        ]

    def _text(self, item_id: str, role: Role) -> _Text:
        text = self._texts.get(item_id)
        if text is None:
            text = self._texts[item_id] = _Text(role)
            drop_oldest(self._texts, REMEMBERED)
        return text
