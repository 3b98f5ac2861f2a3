"""One client's session: its events and its audio in, the server's events out.

It holds no socket and no clock: every call is given the time in seconds. Whoever drives it hands
messages to ``receive``, has it hear what was appended with ``listen``, and sends what ``pull``
gives, again and again until ``due``.
"""

from __future__ import annotations

import heapq
import secrets
import string
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from services.emulator import ears, events, formats, settings, transcription
from services.emulator.answers import Answers, Reset
from services.emulator.clips import RATE
from services.emulator.conversation import Conversation, Item
from services.emulator.diary import Diary, Journal
from services.emulator.options import Options
from services.emulator.pacing import Event
from services.emulator.planning import Planner
from services.emulator.replies import Replies
from services.emulator.responses import Response
from services.emulator.schema import Refused

#: Observed on the live service: a good commit is acknowledged after about 150 ms, a bad one is
#: refused 0.8 to 1 s later, and the rate limits follow response.done by 43 ms.
COMMIT_S: Final = 0.15
COMMIT_ERROR_S: Final = 0.9
RATE_LIMITS_S: Final = 0.043
#: A transcription comes at no time that was promised; here this long after the commit.
TRANSCRIPTION_S: Final = 0.3
#: A commit takes no less than this, ms.
MIN_COMMIT_MS: Final = 100
#: Audio heard in one call of ``listen``, in windows of 32 ms: about 4 ms of work.
_WINDOWS: Final = 2
_ALPHABET: Final = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Close:
    """The WebSocket is to be closed."""

    code: int
    reason: str


#: An event, a message that is none (garbage), or the end.
Outgoing = Event | str | bytes | Close | Reset


def new_id(prefix: str) -> str:
    """Give an id as the service does: a prefix and 21 letters and digits."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(21))}"


class Session:
    """A session. See the module for how it is driven."""

    def __init__(
        self,
        options: Options,
        replies: Replies,
        probability: ears.Probability,
        journal: Journal,
        *,
        model: str,
        now: float,
        wall: float,
    ) -> None:
        """Begin at ``now``, s; ``wall`` is the same in seconds since the epoch."""
        self.id = new_id("sess")
        self._options = options
        self._now = now
        self._settings = settings.default(self.id, model, int(wall + options.expire_s))
        self._conversation = Conversation(new_id("conv"))
        self._diary = Diary(self.id, journal)
        self._ears = ears.Ears(probability)
        self._decoder = formats.Decoder(formats.PCM)
        self._out: deque[Outgoing] = deque()
        #: What is to be done later: when, in which order, what.
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        #: The id announced for the turn that is being spoken, and the turns so far.
        self._turn_item: str | None = None
        self._turns = 0
        #: A turn is to be answered once the cancelled response is done.
        self._answer_waits = False
        #: When a silence is answered, and where in the audio it began.
        self._idle_at: float | None = None
        self._idle_from = 0
        #: A commit is being acknowledged until then.
        self._committing_until = now
        planner = Planner(options, replies, self._conversation, new_id)
        self._answers = Answers(
            options, self._conversation, planner, self._diary, new_id, self._emit, self._done
        )
        self._planner = planner
        self._apply_input_settings()
        self._emit({"type": "session.created", "session": self._settings})
        self._at(now + options.expire_s, self._expire)

    # What its driver calls.

    @property
    def due(self) -> float | None:
        """When ``pull`` has something to give, s; None if nothing is to come."""
        if self._out:
            return self._now
        later = self._later[0][0] if self._later else None
        times = (self._answers.due, later, self._idle_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def listening(self) -> bool:
        """Whether audio was appended that ``listen`` has not heard yet."""
        return self._ears.waiting

    def receive(self, message: str | bytes, now: float) -> None:
        """Take a message of the client. All appended audio must have been heard before."""
        self._now = now
        event_id = None
        try:
            event = events.decode(message)
            given = event.get("event_id")
            event_id = given if isinstance(given, str) else None
            events.check(event)
        except Refused as refused:
            self._refuse(refused, event_id)
        else:
            self._handle(event)

    def listen(self, now: float) -> None:
        """Hear a little of what was appended: about 4 ms of work."""
        self._now = now
        for found in self._ears.hear(_WINDOWS):
            if isinstance(found, ears.Started):
                self._speech_started(found)
            else:
                self._speech_stopped(found)

    def pull(self, now: float) -> list[Outgoing]:
        """Give what is to be sent by ``now``, some of it at a time: until it gives nothing."""
        self._now = now
        if not self._out:
            self._run_timers()
            self._answers.advance(self._now)
        outgoing = list(self._out)
        self._out.clear()
        return outgoing

    def tell(self, now: float) -> None:
        """Write down in the journal what the conversation holds."""
        self._diary.holds(now, self._conversation.items)

    # The client's events.

    def _handle(self, event: Event) -> None:
        # What may build on a commit waits for it, so that all is acknowledged in its order.
        waits = event["type"].startswith("conversation.") or event["type"] == "response.create"
        if waits and self._now < self._committing_until:
            self._at(self._committing_until, lambda: self._handle(event))
            return
        try:
            getattr(self, _HANDLERS[event["type"]])(event)
        except Refused as refused:
            self._refuse(refused, event.get("event_id"))

    def _on_session_update(self, event: Event) -> None:
        update = event["session"]
        self._settings = settings.updated(self._settings, update, spoken=self._conversation.spoken)
        self._apply_input_settings()
        self._emit({"type": "session.updated", "session": self._settings})
        self._diary.updated(sorted(update.keys() - {"type"}))

    def _on_session_close(self, _: Event) -> None:
        self._emit(Close(1000, ""))

    def _on_append(self, event: Event) -> None:
        self._ears.append(self._decoder.decode(event["audio"]))

    def _on_commit(self, event: Event) -> None:
        buffered_ms = self._ears.buffered * 1000 / RATE
        if buffered_ms < MIN_COMMIT_MS:
            refused = Refused(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least"
                f" {MIN_COMMIT_MS}ms of audio, but buffer only has {buffered_ms:.2f}ms of audio.",
            )
            event_id = event.get("event_id")
            self._at(self._now + COMMIT_ERROR_S, lambda: self._refuse(refused, event_id))
            return
        item_id = self._turn_item or new_id("item")
        self._turn_item = None
        self._turns += 1
        audio = self._ears.commit()
        self._committing_until = max(self._now, self._committing_until) + COMMIT_S
        self._at(self._committing_until, lambda: self._committed(item_id, audio))

    def _on_clear(self, _: Event) -> None:
        self._ears.clear()
        self._turn_item = None
        self._emit({"type": "input_audio_buffer.cleared"})

    def _on_item_create(self, event: Event) -> None:
        item = self._planner.item(event["item"], self._settings)
        previous = self._conversation.add(item, event.get("previous_item_id"))
        self._diary.created(self._now, item, previous)
        self._announce(item, previous)

    def _on_item_retrieve(self, event: Event) -> None:
        item = self._conversation.retrieve(event["item_id"])
        audio = self._settings["audio"]
        kinds = audio["input"]["format"]["type"], audio["output"]["format"]["type"]
        self._emit({"type": "conversation.item.retrieved", "item": item.wire_with_audio(*kinds)})

    def _on_item_truncate(self, event: Event) -> None:
        item_id, index, end_ms = event["item_id"], event["content_index"], event["audio_end_ms"]
        item = self._conversation.find(item_id)
        length_ms = item.timeline.length_ms if item and item.timeline else None
        try:
            self._answers.touch(self._conversation.truncate(item_id, index, end_ms))
        except Refused as refused:
            self._diary.truncated(self._now, event, item, length_ms, refused)
            raise
        self._diary.truncated(self._now, event, item, length_ms, None)
        self._emit(
            {
                "type": "conversation.item.truncated",
                "item_id": item_id,
                "content_index": index,
                "audio_end_ms": end_ms,
            }
        )

    def _on_item_delete(self, event: Event) -> None:
        item = self._conversation.delete(event["item_id"])
        self._answers.touch(item)
        self._diary.deleted(self._now, item)
        self._emit({"type": "conversation.item.deleted", "item_id": item.id})

    def _on_response_create(self, event: Event) -> None:
        asked = event.get("response") or {}
        response = self._answers.begin(asked, self._settings, self._turns, self._now)
        if not response.out_of_band and response.active:
            self._idle_at = None

    def _on_response_cancel(self, event: Event) -> None:
        self._answers.cancel(event.get("response_id"), self._now)

    # Hearing.

    def _apply_input_settings(self) -> None:
        given = self._settings["audio"]["input"]
        if self._decoder.kind != given["format"]["type"]:
            self._decoder = formats.Decoder(given["format"]["type"])
        self._ears.configure(ears.detection(given["turn_detection"]))
        if given["turn_detection"] is None:
            self._turn_item = None
        if self._turn_detection.get("idle_timeout_ms") is None:
            self._idle_at = None

    @property
    def _turn_detection(self) -> dict[str, Any]:
        return self._settings["audio"]["input"]["turn_detection"] or {}

    def _speech_started(self, found: ears.Started) -> None:
        self._turn_item = new_id("item")
        self._idle_at = None
        self._emit(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": found.start * 1000 // RATE,
                "item_id": self._turn_item,
            }
        )
        self._diary.speech_started(found.start)
        if self._turn_detection.get("interrupt_response"):
            self._answers.talk_over(self._now)

    def _speech_stopped(self, found: ears.Stopped) -> None:
        item_id = self._turn_item or new_id("item")
        self._turn_item = None
        self._turns += 1
        self._emit(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": found.end * 1000 // RATE,
                "item_id": item_id,
            }
        )
        self._diary.speech_stopped(found.audio)
        self._committed(item_id, found.audio)
        if self._turn_detection.get("create_response"):
            self._answer()

    def _committed(self, item_id: str, audio: bytes) -> None:
        head = {"id": item_id, "type": "message", "role": "user"}
        content = [{"type": "input_audio", "transcript": None}]
        item = Item(head, content=content, audio=audio)
        previous = self._conversation.add(item)
        self._emit(
            {
                "type": "input_audio_buffer.committed",
                "previous_item_id": previous,
                "item_id": item_id,
            }
        )
        self._announce(item, previous)
        wanted = self._settings["audio"]["input"]["transcription"]
        if wanted is not None:
            self._at(self._now + TRANSCRIPTION_S, lambda: self._transcribe(item, wanted))

    def _transcribe(self, item: Item, wanted: dict[str, Any]) -> None:
        for event in transcription.transcribe(item, wanted):
            self._emit(event)

    def _idle(self) -> None:
        """Answer the silence after a reply (idle_timeout_ms): it is committed as a turn."""
        self._idle_at = None
        end = self._ears.clock
        start = min(self._idle_from, end)
        item_id = new_id("item")
        self._emit(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": start * 1000 // RATE,
                "audio_end_ms": end * 1000 // RATE,
                "item_id": item_id,
            }
        )
        self._diary.idle(self._turn_detection["idle_timeout_ms"])
        buffered = self._ears.commit()
        self._committed(item_id, buffered[max(len(buffered) - 2 * (end - start), 0) :])
        self._answer()

    def _answer(self) -> None:
        """Answer a turn, as the server does by itself."""
        active = self._answers.active
        if active is not None and active.cancelled():
            # As soon as that is done.
            self._answer_waits = True
            return
        try:
            self._answers.begin({}, self._settings, self._turns, self._now)
        except Refused as refused:
            self._refuse(refused, None)

    def _done(self, response: Response) -> None:
        """Do what follows a response.done."""
        self._at(self._now + RATE_LIMITS_S, self._tell_rate_limits)
        if response.out_of_band:
            return
        idle_ms = self._turn_detection.get("idle_timeout_ms")
        if idle_ms is not None and not self._ears.speaking:
            played = max(self._now, response.plays_until)
            self._idle_at = played + idle_ms / 1000
            # Where the audio will be by then, of a client that sends it as it comes.
            self._idle_from = self._ears.clock + round((played - self._now) * RATE)
        if self._answer_waits:
            self._answer_waits = False
            self._at(self._now, self._answer)

    # Its parts.

    def _announce(self, item: Item, previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit({"type": kind, "previous_item_id": previous, "item": item.wire()})

    def _tell_rate_limits(self) -> None:
        tokens = {"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 1.5}
        self._emit({"type": "rate_limits.updated", "rate_limits": [tokens]})

    def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        self._refuse(Refused("session_expired", message), None)
        self._emit(Close(1001, message))

    def _emit(self, outgoing: Outgoing) -> None:
        if isinstance(outgoing, dict):
            # The service puts these two first.
            outgoing = {"type": outgoing["type"], "event_id": new_id("event"), **outgoing}
        self._out.append(outgoing)

    def _refuse(self, refused: Refused, event_id: str | None) -> None:
        self._diary.refused(refused)
        self._emit(refused.event(event_id))

    def _at(self, due: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._later, (due, next(self._order), then))

    def _run_timers(self) -> None:
        while self._later and self._later[0][0] <= self._now:
            heapq.heappop(self._later)[2]()
        if self._idle_at is not None and self._idle_at <= self._now:
            self._idle()


_HANDLERS: Final = {
    "session.update": "_on_session_update",
    "session.close": "_on_session_close",
    "input_audio_buffer.append": "_on_append",
    "session.input_audio_buffer.append": "_on_append",
    "input_audio_buffer.commit": "_on_commit",
    "input_audio_buffer.clear": "_on_clear",
    "conversation.item.create": "_on_item_create",
    "conversation.item.retrieve": "_on_item_retrieve",
    "conversation.item.truncate": "_on_item_truncate",
    "conversation.item.delete": "_on_item_delete",
    "response.create": "_on_response_create",
    "response.cancel": "_on_response_cancel",
}
