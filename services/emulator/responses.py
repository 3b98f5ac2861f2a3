"""One response as timed events: its ladder, its pace, its end, and the faults of its audio.

The order of the events is the one observed on the live service. A step of the ladder is either a
due time in seconds, to wait for, or an event to send; so the ladder can be read from top to bottom,
and whoever holds the clock calls ``advance``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.emulator.clips import RATE, Word
from services.emulator.conversation import Conversation, Item, Timeline
from services.emulator.options import Options
from services.emulator.pacing import Clock, Event, Stale, Step, Wire
from services.emulator.plans import Call, Part, Request, Say, Write, audio_tokens

#: Between the words of a written reply, s, before the pace.
_WORD_S: Final = 0.06
#: Characters of a function call's arguments in one delta.
_ARGUMENTS_DELTA: Final = 8
_AUDIO_DELTA: Final = "response.output_audio.delta"


@dataclass
class _Open:
    """An output item that has begun and is not closed."""

    index: int
    item: Item
    plan: Part
    #: The text of the deltas that were sent.
    text: str = ""
    #: All of it was sent.
    complete: bool = False


class Response:
    """A response being given. ``advance`` gives its events when they are due."""

    def __init__(
        self,
        response_id: str,
        request: Request,
        plan: Sequence[Part],
        options: Options,
        conversation: Conversation | None,
        new_id: Callable[[str], str],
        now: float,
        error: dict[str, str] | None = None,
    ) -> None:
        """Begin at ``now``, s. ``conversation``: None for a response out of band.

        ``error``: what it fails with, at once.
        """
        self.id = response_id
        self.request = request
        self.status = "in_progress"
        #: When all that was sent will have been played, by a client that plays it as it comes, s.
        self.plays_until = now
        #: The spoken items so far.
        self.spoken: list[Item] = []
        self.sent_samples = 0
        self._plan = plan
        self._options = options
        self._conversation = conversation
        self._new_id = new_id
        self._error = error
        self._details: dict[str, Any] | None = None
        self._items: list[Item] = []
        self._open: list[_Open] = []
        self._text_tokens = 0
        self._reason: str | None = None
        self._now = now
        self._due: float | None = now
        self._steps = self._ladder(now)

    @property
    def out_of_band(self) -> bool:
        """Whether it belongs to no conversation."""
        return self._conversation is None

    @property
    def active(self) -> bool:
        """Whether its response.done was not sent yet."""
        return self.status == "in_progress"

    def cancelled(self) -> bool:
        """Whether it was cancelled, though it may not be done yet."""
        return self._reason is not None

    @property
    def due(self) -> float | None:
        """When ``advance`` has something to give, s; None when all is said."""
        return self._due

    @property
    def sent_ms(self) -> int:
        """Audio sent so far, ms."""
        return self.sent_samples * 1000 // RATE

    def advance(self, now: float, limit: int = 8) -> list[Event]:
        """Give the events due by ``now``; having ``limit`` of them, it stops before the next due.

        What is due at one time is never parted, so that a cancel finds an item open or not.
        """
        events: list[Event] = []
        self._now = now
        while self._due is not None and self._due <= now and len(events) < limit:
            for step in self._steps:
                if isinstance(step, float):
                    self._due = step
                    break
                events.append(step)
            else:
                self._due = None
        return events

    def cancel(self, now: float, reason: str) -> None:
        """Stop, because of ``turn_detected`` or ``client_cancelled``: what is open is closed.

        The close-out is due at once, or, with the fault of late deltas, after those.
        """
        assert self.active
        assert not self.cancelled()
        self._reason = reason
        self._steps = self._after_cancel(self._steps, self._due, now)
        self._due = now

    def fail(self, now: float, error: dict[str, str]) -> None:
        """Stop because of the server's own fault: what is open is closed."""
        self._details = {"type": "failed", "error": error}
        self._steps = self._cut("failed")
        self._due = now

    # The ladder.

    def _ladder(self, now: float) -> Iterator[Step]:
        yield self._event("response.created", response=self._resource())
        if self._error is not None:
            self.status = "failed"
            self._details = {"type": "failed", "error": self._error}
            yield self._event("response.done", response=self._resource())
            return
        latency = self._options.latency_ms / 1000
        clock = Clock(now + latency, self._options)
        before: _Open | None = None
        incomplete = False
        for index, plan in enumerate(self._plan):
            # The first item is there before its audio is: that is a moment to be cut off in, too.
            yield clock.due() if index else now + latency / 2
            if self.cancelled():
                return
            opened, begin = self._begin(index, plan)
            yield from begin
            tokens = self._tokens_left()
            if isinstance(plan, Say):
                steps = self._speak(opened, plan, clock, tokens)
                incomplete = tokens < audio_tokens(plan.utterance.samples)
            elif isinstance(plan, Write):
                steps = self._write(opened, plan, clock, tokens)
                incomplete = tokens < len(plan.text.split())
            else:
                steps = self._call(opened, plan, clock)
            for step in steps:
                yield step
                # An item was seen to be closed only after the next one's audio had begun.
                begun = isinstance(step, dict) and step["type"] == _AUDIO_DELTA
                if begun and before and not self.cancelled():
                    closed, before = before, None
                    yield from self._close(closed, "completed")
            if self.cancelled():
                return
            if incomplete:
                break
            opened.complete = True
            if isinstance(plan, Say) and isinstance(_after(self._plan, index), Say):
                before = opened
            else:
                yield from self._close(opened, "completed")
        if incomplete:
            self._details = {"type": "incomplete", "reason": "max_output_tokens"}
        yield from self._cut("incomplete" if incomplete else "completed")

    def _begin(self, index: int, plan: Part) -> tuple[_Open, list[Event]]:
        """Open an item: the three or four events that come in one go."""
        head = {"id": self._new_id("item"), "type": "message", "role": "assistant"}
        item = Item(head, "in_progress", content=[])
        part = {"type": "text", "text": ""}
        if isinstance(plan, Say):
            item.timeline = Timeline(plan.utterance, self._options.skew_ms)
            self.spoken.append(item)
            part = {"type": "audio", "transcript": ""}
            if plan.phase:
                head["phase"] = plan.phase
        elif isinstance(plan, Call):
            head = {"id": head["id"], "type": "function_call", "name": plan.name}
            head |= {"call_id": plan.call_id, "arguments": ""}
            item = Item(head, "in_progress")
        opened = _Open(index, item, plan)
        self._open.append(opened)
        self._items.append(item)
        events = [self._event("response.output_item.added", output_index=index, item=item.wire())]
        if self._conversation is not None:
            previous = self._conversation.add(item)
            events.append(
                {
                    "type": "conversation.item.added",
                    "previous_item_id": previous,
                    "item": item.wire(),
                }
            )
        if not isinstance(plan, Call):
            events.append(self._content(opened, "response.content_part.added", part=part))
        return opened, events

    def _speak(self, opened: _Open, plan: Say, clock: Clock, tokens: float) -> Iterator[Step]:
        utterance = plan.utterance
        timeline = opened.item.timeline
        assert timeline is not None
        wire = Wire(utterance, self.request.format["type"], tokens)
        words = list(utterance.words)
        at = 0
        while at < wire.length:
            data = wire.read(at, at + clock.next_size())
            at += len(data)
            end = wire.samples(at)
            yield clock.due()
            # The words stand ahead of the audio that speaks them.
            if spoken := _taken(words, end * 1000 / RATE):
                yield self._transcript(opened, spoken)
            if not self.cancelled():
                self._count(timeline, end)
            delta = base64.b64encode(data).decode("ascii")
            yield self._content(opened, _AUDIO_DELTA, delta=delta)
            clock.sent(len(data) / wire.bytes_per_s)
        if words and at == wire.full_length:
            yield self._transcript(opened, words)

    def _write(self, opened: _Open, plan: Write, clock: Clock, tokens: float) -> Iterator[Step]:
        for number, word in enumerate(plan.text.split()):
            if number >= tokens:
                return
            yield clock.due()
            delta = f" {word}" if number else word
            opened.text += delta
            self._text_tokens += 1
            yield self._content(opened, "response.output_text.delta", delta=delta)
            clock.sent(_WORD_S)

    def _call(self, opened: _Open, plan: Call, clock: Clock) -> Iterator[Step]:
        due = clock.due()
        starts = range(0, len(plan.arguments), _ARGUMENTS_DELTA)
        for number, at in enumerate(starts, 1):
            yield due + self._options.call_ms / 1000 * number / len(starts)
            delta = plan.arguments[at : at + _ARGUMENTS_DELTA]
            opened.text += delta
            yield self._event(
                "response.function_call_arguments.delta",
                item_id=opened.item.id,
                output_index=opened.index,
                call_id=plan.call_id,
                delta=delta,
            )

    def _close(self, opened: _Open, status: str) -> Iterator[Event]:
        """Close an item: its done events, with what was sent of it."""
        self._open.remove(opened)
        item, plan = opened.item, opened.plan
        item.status = status
        if isinstance(plan, Say):
            yield self._content(opened, "response.output_audio.done")
            yield self._content(
                opened, "response.output_audio_transcript.done", transcript=opened.text
            )
            part = {"type": "audio", "transcript": opened.text}
            # A truncate took the transcript away, and closing the item does not bring it back.
            cut = item.timeline is not None and item.timeline.kept_ms is not None
            item.content = [{"type": "output_audio", "transcript": None if cut else opened.text}]
            self._text_tokens += len(opened.text.split())
        elif isinstance(plan, Write):
            yield self._content(opened, "response.output_text.done", text=opened.text)
            part = {"type": "text", "text": opened.text}
            item.content = [{"type": "output_text", "text": opened.text}]
        else:
            item.head["arguments"] = opened.text
            self._text_tokens += math.ceil(len(opened.text) / 4)
            yield self._event(
                "response.function_call_arguments.done",
                item_id=item.id,
                output_index=opened.index,
                call_id=plan.call_id,
                name=plan.name,
                arguments=opened.text,
            )
        if not isinstance(plan, Call):
            yield self._content(opened, "response.content_part.done", part=part)
        if self._conversation is not None and not item.deleted:
            previous = self._conversation.previous(item)
            yield {
                "type": "conversation.item.done",
                "previous_item_id": previous,
                "item": item.wire(),
            }
        yield self._event("response.output_item.done", output_index=opened.index, item=item.wire())

    def _end(self, status: str) -> Iterator[Event]:
        self.status = status
        yield self._event("response.done", response=self._resource())

    def _after_cancel(self, rest: Iterator[Step], due: float | None, now: float) -> Iterator[Step]:
        """Close what is open; ahead of that, and after it, deltas that come too late."""
        faults = self._options.faults
        until = now + faults.late_ms / 1000
        stale = Stale(rest, due, {opened.item.id for opened in self._open})
        if faults.late_ms:
            yield from stale.deltas(until)
        self._details = {"type": "cancelled", "reason": self._reason}
        yield from self._cut("cancelled")
        if faults.late_after_ms:
            yield from stale.deltas(until + faults.late_after_ms / 1000)

    def _cut(self, status: str) -> Iterator[Step]:
        """Close what is open, and end."""
        for opened in list(self._open):
            yield from self._close(opened, "completed" if opened.complete else "incomplete")
        yield from self._end(status)

    # Its parts.

    def _transcript(self, opened: _Open, words: Sequence[Word]) -> Event:
        delta = " ".join(word.text for word in words)
        if opened.text:
            delta = f" {delta}"
        opened.text += delta
        return self._content(opened, "response.output_audio_transcript.delta", delta=delta)

    def _count(self, timeline: Timeline, end: int) -> None:
        new = end - timeline.sent
        timeline.sent = end
        self.sent_samples += new
        self.plays_until = max(self.plays_until, self._now) + new / RATE
        if self._conversation is not None:
            self._conversation.spoken = True

    def _tokens_left(self) -> float:
        limit = self.request.max_output_tokens
        if isinstance(limit, str):
            return math.inf
        return limit - audio_tokens(self.sent_samples) - self._text_tokens

    def _content(self, opened: _Open, kind: str, **fields: Any) -> Event:
        return self._event(
            kind, item_id=opened.item.id, output_index=opened.index, content_index=0, **fields
        )

    def _event(self, kind: str, **fields: Any) -> Event:
        if "response" in fields:
            return {"type": kind, **fields}
        return {"type": kind, "response_id": self.id, **fields}

    def _resource(self) -> dict[str, Any]:
        output = {"format": self.request.format, "voice": self.request.voice}
        conversation = self._conversation
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": [] if self.active else [item.wire() for item in self._items],
            "conversation_id": conversation.id if conversation else None,
            "output_modalities": [self.request.modality],
            "max_output_tokens": self.request.max_output_tokens,
            "audio": {"output": output},
            "usage": None if self.active else self._usage(),
            "metadata": self.request.metadata,
        }

    def _usage(self) -> dict[str, Any]:
        return self.request.usage(self._text_tokens, audio_tokens(self.sent_samples))


def _after(plan: Sequence[Part], index: int) -> Part | None:
    return plan[index + 1] if index + 1 < len(plan) else None


def _taken(words: list[Word], before_ms: float) -> list[Word]:
    """Take the words off that begin before a time."""
    count = 0
    while count < len(words) and words[count].start_ms < before_ms:
        count += 1
    taken = words[:count]
    del words[:count]
    return taken
