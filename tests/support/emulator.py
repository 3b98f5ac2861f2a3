"""What these tests share: strict validation, a scripted detector, a session with a clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any, get_args

from hypothesis import settings
from openai.types.realtime import realtime_server_event
from pydantic import BaseModel

from services.emulator.clips import Piece, Utterance, Voice, Word
from services.emulator.ears import Probability
from services.emulator.options import VOICE, Options
from services.emulator.outbox import Close, Outgoing
from services.emulator.replies import Replies
from services.emulator.session import Session
from services.emulator.tone import Tone

Event = dict[str, Any]

#: For properties: a machine that is busy with something else is no failure.
patiently = settings(deadline=None)

#: On the live service's wire, and not in the published types.
UNTYPED = {
    "session.object",
    "session.id",
    "session.expires_at",
    "item.phase",
    "response.output.phase",
    "obfuscation",
}
#: What every response was seen to carry, though the types call all of it optional.
RESPONSE_FIELDS = {
    "id",
    "object",
    "status",
    "status_details",
    "output",
    "conversation_id",
    "output_modalities",
    "max_output_tokens",
    "audio",
    "usage",
    "metadata",
}


@cache
def models() -> dict[str, type[BaseModel]]:
    """Give the openai package's model for each type of server event."""
    union = get_args(realtime_server_event.RealtimeServerEvent)[0]
    return {get_args(m.model_fields["type"].annotation)[0]: m for m in get_args(union)}


def validate(event: Event) -> None:
    """Check an event strictly against the openai package's type: nothing missing, nothing more."""
    parsed = models()[event["type"]].model_validate(event, strict=True)
    extra = set(_extra(parsed, ""))
    assert extra <= UNTYPED, f"{event['type']}: unknown fields {extra - UNTYPED}"
    if "response" in event:
        assert event["response"].keys() == RESPONSE_FIELDS


def _extra(value: object, path: str) -> list[str]:
    if isinstance(value, list):
        return [name for element in value for name in _extra(element, path)]
    if not isinstance(value, BaseModel):
        return []
    dot = f"{path}." if path else ""
    found = [f"{dot}{name}" for name in value.model_extra or ()]
    for name in type(value).model_fields:
        found += _extra(getattr(value, name), f"{dot}{name}")
    return found


class Scripted:
    """A detector that hears speech in given spans, in ms of the audio it is shown."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.spans = spans
        self.windows = 0

    def __call__(self, window: bytes) -> float:
        assert len(window) == 1024
        middle = self.windows * 32 + 16
        self.windows += 1
        return 0.95 if any(start <= middle < end for start, end in self.spans) else 0.02


class Rig:
    """A session with a clock that moves when the test says so; every event is validated."""

    def __init__(
        self,
        options: Options | None = None,
        *spans: tuple[int, int],
        probability: Probability | None = None,
    ) -> None:
        self.options = options or Options()
        tone = self.options.reply.startswith("tone")
        replies = Replies(self.options.reply, None if tone else voice())
        self.journal: list[dict[str, Any]] = []
        self.now = 100.0
        self.session = Session(
            self.options,
            replies,
            probability or Scripted(*spans),
            self.journal.append,
            model="gpt-realtime",
            now=self.now,
            wall=1_000_000.0,
        )
        #: Everything sent: when, and what.
        self.sent: list[tuple[float, Outgoing]] = []
        self._marked = 0
        self._ids = count()
        self.run(0)

    def run(self, seconds: float) -> list[Event]:
        """Let time pass; give the events of it."""
        until = self.now + seconds
        while True:
            while sent := self.session.pull(self.now):
                for outgoing in sent:
                    if isinstance(outgoing, dict):
                        validate(outgoing)
                        # What was sent is what it was then.
                        self.sent.append((self.now, json.loads(json.dumps(outgoing))))
                    else:
                        self.sent.append((self.now, outgoing))
            due = self.session.due
            if due is None or due > until:
                break
            self.now = max(self.now, due)
        self.now = until
        return self.new()

    def new(self) -> list[Event]:
        """Give the events since this was last asked."""
        events = [event for _, event in self.sent[self._marked :] if isinstance(event, dict)]
        self._marked = len(self.sent)
        return events

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """Send a client event; give what comes at once."""
        return self.raw(json.dumps({"type": kind, **fields}))

    def raw(self, message: str | bytes) -> list[Event]:
        """Send a message; give what comes at once."""
        self.session.receive(message, self.now)
        while self.session.listening:
            self.session.listen(self.now)
        return self.run(0)

    def speak(self, ms: int, frame: int = 20) -> list[Event]:
        """Append so much audio in real time; give all that comes meanwhile."""
        events = []
        for _ in range(0, ms, frame):
            events += self.append(bytes(48 * frame))
            events += self.run(frame / 1000)
        return events

    def append(self, pcm: bytes) -> list[Event]:
        """Append audio; give what comes at once."""
        return self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def update(self, **session: Any) -> list[Event]:
        """Send a session.update."""
        return self.send("session.update", session={"type": "realtime", **session})

    def detect(self, settings: Event | None) -> list[Event]:
        """Set the turn detection."""
        return self.update(audio={"input": {"turn_detection": settings}})

    @property
    def closed(self) -> Close | None:
        """How the session was closed, if it was."""
        last = self.sent[-1][1]
        return last if isinstance(last, Close) else None


@cache
def voice() -> Voice:
    """Give the voice in the repository."""
    return Voice(VOICE)


def kinds(events: Sequence[Event], *without: str) -> list[str]:
    """Give the types of events, without the deltas and what else is not wanted."""
    names = [event["type"] for event in events]
    return [n for n in names if not n.endswith(".delta") and n not in without]


def of(events: Sequence[Event], kind: str) -> list[Event]:
    """Give the events of one type."""
    return [event for event in events if event["type"] == kind]


def one(events: Sequence[Event], kind: str) -> Event:
    """Give the one event of a type."""
    found = of(events, kind)
    assert len(found) == 1, kinds(events)
    return found[0]


def audio_of(events: Sequence[Event], **fields: Any) -> bytes:
    """Give the audio of the deltas, of those only whose fields are as given."""
    return b"".join(
        base64.b64decode(event["delta"])
        for event in of(events, "response.output_audio.delta")
        if all(event[name] == value for name, value in fields.items())
    )


def said(*words: str, word_ms: int = 100) -> Utterance:
    """Give a made-up utterance: a tone, and words of the same length one after another."""
    samples = word_ms * 24 * len(words)
    times = tuple(Word(w, n * word_ms, (n + 1) * word_ms) for n, w in enumerate(words))
    return Utterance("made up", (Piece(Tone(samples), 0, samples),), times)


def numbered() -> Callable[[str], str]:
    """Give a source of ids: item_1, item_2 …"""
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"
