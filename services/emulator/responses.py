"""One response over time: its events in order, each when it is due.

A step is either a time in seconds, at which the following events are due, or an event to send. The
steps of a response can therefore be read from top to bottom. The owner of the clock calls
``advance``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from services.emulator import plans
from services.emulator.clips import RATE, Word
from services.emulator.conversation import Conversation, Item, Timeline
from services.emulator.options import Options
from services.emulator.output import OpenItem, Output
from services.emulator.pacing import Clock, Event, Stale, Step, Wire

#: The time between two words of a written reply, s. The pace divides it, like audio.
_WORD_S: Final = 0.06
#: The number of characters of a function call's arguments in one delta.
_ARGUMENTS_DELTA: Final = 8
#: About how many events ``advance`` returns at a time.
AT_ONCE: Final = 8
_AUDIO_DELTA: Final = "response.output_audio.delta"


class Response:
    """A response that is being sent. ``advance`` returns its events when they are due."""

    def __init__(
        self,
        response_id: str,
        request: plans.Request,
        plan: Sequence[plans.Part],
        options: Options,
        conversation: Conversation | None,
        new_id: Callable[[str], str],
        now: float,
        error: dict[str, str] | None = None,
    ) -> None:
        """Begin at ``now``, s.

        ``conversation`` is None if the response is out of band. A response with an ``error`` fails
        with this error at once.
        """
        self.id = response_id
        self.request = request
        #: When a client that plays the audio as it arrives will have played all of it, s.
        self.plays_until = now
        self._plan = plan
        self._options = options
        self._output = Output(response_id, request, conversation, new_id, options.skew_ms)
        self._error = error
        #: Why the response was cancelled; None if it was not.
        self._reason: str | None = None
        self._now = now
        self._due: float | None = now
        self._steps = self._all_steps(now)

    @property
    def status(self) -> str:
        """The status, as on the wire."""
        return self._output.status

    @property
    def out_of_band(self) -> bool:
        """Whether the response belongs to no conversation."""
        return self._output.conversation is None

    @property
    def active(self) -> bool:
        """Whether its response.done is still to come."""
        return self.status == "in_progress"

    def cancelled(self) -> bool:
        """Return whether the response was cancelled. Its response.done may still be to come."""
        return self._reason is not None

    @property
    def due(self) -> float | None:
        """When ``advance`` has events to return, s; None if there are no more."""
        return self._due

    @property
    def spoken(self) -> list[Item]:
        """The spoken items so far."""
        return self._output.spoken

    @property
    def mcp_calls(self) -> list[OpenItem]:
        """The complete calls of functions on MCP servers."""
        return self._output.mcp_calls

    @property
    def sent_ms(self) -> int:
        """The length of the audio sent so far, ms."""
        return self._output.sent_samples * 1000 // RATE

    def advance(self, now: float) -> list[Event]:
        """Return the events that are due by ``now``, about AT_ONCE of them at a time.

        All events that are due at the same time come together, so that a cancel can't come between
        the events that open an item.
        """
        events: list[Event] = []
        self._now = now
        while self._due is not None and self._due <= now and len(events) < AT_ONCE:
            for step in self._steps:
                if isinstance(step, float):
                    self._due = step
                    break
                events.append(step)
            else:
                self._due = None
        return events

    def cancel(self, now: float, reason: str) -> None:
        """Stop for a reason, "turn_detected" or "client_cancelled", and close the open items.

        The events of the end are due at once, or after the late deltas if that fault is on.
        """
        assert self.active
        assert not self.cancelled()
        self._reason = reason
        self._steps = self._steps_after_cancel(self._steps, self._due, now)
        self._due = now

    def fail(self, now: float, error: dict[str, str]) -> None:
        """Stop because of an error of the server, and close the open items."""
        self._output.details = {"type": "failed", "error": error}
        self._steps = self._output.close_all("failed")
        self._due = now

    # The steps.

    def _all_steps(self, now: float) -> Iterator[Step]:
        output = self._output
        yield output.created()
        if self._error is not None:
            output.details = {"type": "failed", "error": self._error}
            yield output.end("failed")
            return
        latency = self._options.latency_ms / 1000
        clock = Clock(now + latency, self._options)
        #: A spoken item that was sent, and that stays open until the next item has audio.
        previous: OpenItem | None = None
        for index, plan in enumerate(self._plan):
            # The first item is opened half way through the latency, so that a client can also
            # interrupt a response that has an item and no audio.
            yield clock.due() if index else now + latency / 2
            if self.cancelled():
                return
            opened, announced = output.begin(index, plan)
            yield from announced
            tokens = output.tokens_left()
            for step in self._fill(opened, clock, tokens):
                yield step
                # The live service closes an item only after the next item's audio has begun.
                begun = isinstance(step, dict) and step["type"] == _AUDIO_DELTA
                if begun and previous and not self.cancelled():
                    finished, previous = previous, None
                    yield from output.close(finished, "completed")
            if self.cancelled():
                return
            if tokens < _tokens(plan):
                output.details = {"type": "incomplete", "reason": "max_output_tokens"}
                yield from output.close_all("incomplete")
                return
            opened.complete = True
            if isinstance(plan, plans.Say) and isinstance(_next(self._plan, index), plans.Say):
                previous = opened
            else:
                yield from output.close(opened, "completed")
        yield from output.close_all("completed")

    def _fill(self, opened: OpenItem, clock: Clock, tokens: float) -> Iterator[Step]:
        """Yield the deltas of an item, up to a limit of tokens."""
        plan = opened.plan
        if isinstance(plan, plans.Say):
            return self._speak(opened, plan, clock, tokens)
        if isinstance(plan, plans.Write):
            return self._write(opened, plan, clock, tokens)
        if isinstance(plan, plans.McpAsk):
            return iter(())
        return self._call(opened, plan, clock)

    def _speak(
        self, opened: OpenItem, plan: plans.Say, clock: Clock, tokens: float
    ) -> Iterator[Step]:
        timeline = opened.item.timeline
        assert timeline is not None
        wire = Wire(plan.utterance, self.request.format["type"], tokens)
        words = list(plan.utterance.words)
        at = 0
        while at < wire.length:
            data = wire.read(at, at + clock.next_size())
            at += len(data)
            end = wire.samples(at)
            yield clock.due()
            # The service sends each word before the audio of that word.
            if begun := _take_words(words, end * 1000 / RATE):
                yield self._output.transcript(opened, begun)
            if not self.cancelled():
                self._count(timeline, end)
            yield self._output.audio(opened, base64.b64encode(data).decode("ascii"))
            clock.sent(len(data) / wire.bytes_per_s)
        if words and at == wire.full_length:
            yield self._output.transcript(opened, words)

    def _write(
        self, opened: OpenItem, plan: plans.Write, clock: Clock, tokens: float
    ) -> Iterator[Step]:
        for number, word in enumerate(plan.text.split()):
            if number >= tokens:
                return
            yield clock.due()
            yield self._output.text(opened, f" {word}" if number else word)
            clock.sent(_WORD_S)

    def _call(
        self, opened: OpenItem, plan: plans.Call | plans.McpCall, clock: Clock
    ) -> Iterator[Step]:
        due = clock.due()
        starts = range(0, len(plan.arguments), _ARGUMENTS_DELTA)
        for number, at in enumerate(starts, 1):
            yield due + self._options.call_ms / 1000 * number / len(starts)
            delta = plan.arguments[at : at + _ARGUMENTS_DELTA]
            yield self._output.arguments(opened, plan, delta)

    def _steps_after_cancel(
        self, rest: Iterator[Step], due: float | None, now: float
    ) -> Iterator[Step]:
        """Yield the end of a cancelled response, with the late deltas before it and after it."""
        faults = self._options.faults
        until = now + faults.late_ms / 1000
        stale = Stale(rest, due, {opened.item.id for opened in self._output.open})
        if faults.late_ms:
            yield from stale.deltas(until)
        self._output.details = {"type": "cancelled", "reason": self._reason}
        yield from self._output.close_all("cancelled")
        if faults.late_after_ms:
            yield from stale.deltas(until + faults.late_after_ms / 1000)

    def _count(self, timeline: Timeline, end: int) -> None:
        """Record that the audio of an item was sent up to ``end``, samples."""
        new = end - timeline.sent
        timeline.sent = end
        self._output.sent_samples += new
        self.plays_until = max(self.plays_until, self._now) + new / RATE
        if self._output.conversation is not None:
            self._output.conversation.spoken = True


def _tokens(plan: plans.Part) -> float:
    """Return the tokens that an item needs, as far as a limit applies to it."""
    if isinstance(plan, plans.Say):
        return plans.audio_tokens(plan.utterance.samples)
    if isinstance(plan, plans.Write):
        return len(plan.text.split())
    # A call is never cut off: a client could not use half of its arguments.
    return -math.inf


def _next(plan: Sequence[plans.Part], index: int) -> plans.Part | None:
    return plan[index + 1] if index + 1 < len(plan) else None


def _take_words(words: list[Word], before_ms: float) -> list[Word]:
    """Remove the words that begin before a time from the list, and return them."""
    count = 0
    while count < len(words) and words[count].start_ms < before_ms:
        count += 1
    taken = words[:count]
    del words[:count]
    return taken
