"""For tests of the emulator: strict checks of events, a scripted detector, a simulated clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any

from hypothesis import settings

from services.emulator.clips import Piece, Utterance, Voice, Word
from services.emulator.ears import Probability
from services.emulator.options import VOICE, Options
from services.emulator.outbox import Close, Outgoing
from services.emulator.replies import Replies
from services.emulator.session import Session
from services.emulator.tone import Tone
from tests.support.openai_types import server_events, unknown_fields

Event = dict[str, Any]

#: Settings for property tests: without a deadline, so that a busy machine is not a failure.
patiently = settings(deadline=None)

#: Fields that the live service sends and that the published types lack.
UNTYPED = {
    "session.object",
    "session.id",
    "session.expires_at",
    "item.phase",
    "response.output.phase",
    "obfuscation",
}
#: Fields that every response of the live service has. The types say that all are optional.
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


def validate(event: Event) -> None:
    """Check that an event has exactly the fields of the openai package's type, and their types."""
    parsed = server_events()[event["type"]].model_validate(event, strict=True)
    extra = set(unknown_fields(parsed))
    assert extra <= UNTYPED, f"{event['type']}: unknown fields {extra - UNTYPED}"
    if "response" in event:
        assert event["response"].keys() == RESPONSE_FIELDS


class Scripted:
    """A detector that finds speech in the given spans, in ms since its first window."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.spans = spans
        self.windows = 0

    def __call__(self, window: bytes) -> float:
        assert len(window) == 1024
        middle = self.windows * 32 + 16
        self.windows += 1
        return 0.95 if any(start <= middle < end for start, end in self.spans) else 0.02


class Rig:
    """A session whose clock only moves when the test says so.

    It validates every event, unless the session has twists.
    """

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
        #: The time and the content of every message that the session sent.
        self.sent: list[tuple[float, Outgoing]] = []
        self._marked = 0
        self._ids = count()
        self.run(0)

    def run(self, seconds: float) -> list[Event]:
        """Let time pass, and return the events that the session sent."""
        until = self.now + seconds
        while True:
            while sent := self.session.pull(self.now):
                for outgoing in sent:
                    if isinstance(outgoing, dict):
                        if not self.options.twists:
                            validate(outgoing)
                        # A copy, because the session goes on changing the objects in its events.
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
        """Return the events since the last call."""
        events = [event for _, event in self.sent[self._marked :] if isinstance(event, dict)]
        self._marked = len(self.sent)
        return events

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """Send a client event, and return the events that follow at once."""
        return self.raw(json.dumps({"type": kind, **fields}))

    def raw(self, message: str | bytes) -> list[Event]:
        """Send a message, and return the events that follow at once."""
        self.session.receive(message, self.now)
        while self.session.listening:
            self.session.listen(self.now)
        return self.run(0)

    def speak(self, ms: int, frame: int = 20) -> list[Event]:
        """Append ``ms`` of audio in real time, and return the events that follow meanwhile."""
        events = []
        for _ in range(0, ms, frame):
            events += self.append(bytes(48 * frame))
            events += self.run(frame / 1000)
        return events

    def append(self, pcm: bytes) -> list[Event]:
        """Append audio, and return the events that follow at once."""
        return self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def update(self, **session: Any) -> list[Event]:
        """Send a session.update, and return the events that follow at once."""
        return self.send("session.update", session={"type": "realtime", **session})

    def detect(self, settings: Event | None) -> list[Event]:
        """Set the turn detection, and return the events that follow at once."""
        return self.update(audio={"input": {"turn_detection": settings}})

    @property
    def closed(self) -> Close | None:
        """The session's close, or None if it is open."""
        last = self.sent[-1][1]
        return last if isinstance(last, Close) else None


@cache
def voice() -> Voice:
    """Return the voice in the repository."""
    return Voice(VOICE)


def kinds(events: Sequence[Event], *without: str) -> list[str]:
    """Return the types of the events, without deltas and without the types in ``without``."""
    names = [event["type"] for event in events]
    return [n for n in names if not n.endswith(".delta") and n not in without]


def of(events: Sequence[Event], kind: str) -> list[Event]:
    """Return the events of one type."""
    return [event for event in events if event["type"] == kind]


def one(events: Sequence[Event], kind: str) -> Event:
    """Return the only event of a type."""
    found = of(events, kind)
    assert len(found) == 1, kinds(events)
    return found[0]


def audio_of(events: Sequence[Event], **fields: Any) -> bytes:
    """Return the audio of the deltas whose fields have these values."""
    return b"".join(
        base64.b64decode(event["delta"])
        for event in of(events, "response.output_audio.delta")
        if all(event[name] == value for name, value in fields.items())
    )


def said(*words: str, word_ms: int = 100) -> Utterance:
    """Return an utterance whose audio is a tone, and whose words all have the same length."""
    samples = word_ms * 24 * len(words)
    times = tuple(Word(w, n * word_ms, (n + 1) * word_ms) for n, w in enumerate(words))
    return Utterance("made up", (Piece(Tone(samples), 0, samples),), times)


def numbered() -> Callable[[str], str]:
    """Return a function that makes ids: item_1, item_2 and so on."""
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"


TURN = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"
DONE = "response.done"
TONE = Options(reply="tone:8")


def item_of(events: list[Event]) -> str:
    """Return the id of the item that these events open last."""
    return str(of(events, "response.output_item.added")[-1]["item"]["id"])


def error(events: list[Event]) -> Event:
    return dict(one(events, "error")["error"])


def truncate(rig: Rig, item: str, end_ms: Any, index: int = 0) -> list[Event]:
    return rig.send(
        "conversation.item.truncate", item_id=item, content_index=index, audio_end_ms=end_ms
    )
