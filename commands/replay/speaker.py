"""The sound device of a recording: when it asked for samples, and what playback had by then. Pure.

Playback gets each message at the call of the device at which it was handled when it was recorded.
A message that another replayed stage publishes is matched with the recorded one that says the same.
If none does, playback gets the message at the next call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from commands.replay.differences import IGNORED, plain
from shared import messages, registry
from shared.audio.pcm import FRAME
from shared.recording import Recorded
from shared.replayed import Step

#: A replayed stage publishes a message at most this much earlier than the recorded stage did, ns.
LATE_NS = 1_000_000_000
#: Timers count in s, with this rounding at most, ns.
ROUNDING_NS = 1000


class _Known(NamedTuple):
    """A recorded message: when it was published, what it says, and the call that it came before."""

    at_ns: int
    says: bytes
    call: int


def says(recorded: Recorded) -> bytes:
    """Return the content of a message, without the times of its publisher's own clock."""
    return msgspec.json.encode(plain(recorded, frozenset(IGNORED)))


class Speaker:
    """Hands playback its messages, and the calls of the device, as they were recorded."""

    def __init__(self, recorded: Iterable[Recorded]) -> None:
        found = sorted(recorded, key=lambda each: each.stamp.t)
        self._calls = [
            call
            for each in found
            if isinstance(each.message, messages.SpeakerCalls)
            for call in each.message.calls
        ]
        self._next = 0  # the number of the next call
        # The timers that rang: the number of the call after it, and when it was due, ns.
        self._rang = deque((n, call.rang_ns) for n, call in enumerate(self._calls) if call.rang_ns)
        reads = registry.stage("playback").reads
        self._known = {name: self._find(name, found) for name in reads}
        # The messages that wait, by topic: the number of the call, their order, and the step.
        self._waiting: dict[str, deque[tuple[int, int, Step]]] = {name: deque() for name in reads}
        self._count = 0

    def _find(self, topic: str, recorded: Iterable[Recorded]) -> deque[_Known]:
        """Return the recorded messages of a topic, with the call before which each was handled."""
        known: deque[_Known] = deque()
        calls = enumerate(self._calls)
        number, until_ns = -1, -1  # the messages published up to this time came before this call
        for each in recorded:
            if each.topic.name != topic:
                continue
            while each.stamp.t > until_ns:
                number, call = next(calls, (len(self._calls), None))
                if call is None:
                    break
                until_ns = max(until_ns, call.handled.get(topic, -1))
            known.append(_Known(each.stamp.t, says(each), number))
        return known

    @property
    def next_ns(self) -> int | None:
        """When the device asks next, ns; None: not again."""
        return self._calls[self._next].called_ns if self._next < len(self._calls) else None

    def put(self, step: Step, message: Recorded) -> None:
        """Keep a message for playback until its call."""
        self._count += 1
        call = self._call_of(message, step.at_ns)
        self._waiting[step.topic].append((call, self._count, step))

    def _call_of(self, message: Recorded, at_ns: int) -> int:
        known, said = self._known[message.topic.name], says(message)
        for number, each in enumerate(known):
            if each.at_ns > at_ns + LATE_NS:
                break
            if each.says == said:
                for _ in range(number + 1):
                    known.popleft()
                return each.call
        return max(self._next, bisect_left(self._calls, at_ns, key=lambda call: call.called_ns))

    def take(self) -> list[Step]:
        """Return the next steps for playback: the messages before the next call, and the call.

        After the last call: all messages that are left.
        """
        ready: list[tuple[int, Step]] = []
        for waiting in self._waiting.values():
            while waiting and waiting[0][0] <= self._next:
                _, order, step = waiting.popleft()
                ready.append((order, step))
        steps = [step for _, step in sorted(ready, key=lambda each: each[0])]
        if self._next < len(self._calls):
            call = self._calls[self._next]
            if self._next == 0 and (missing := call.position % FRAME):
                # The device was opened before the recording began. Frames begin where they did.
                steps.insert(0, Step(call.called_ns, samples=missing, dac_ns=call.dac_ns))
            self._next += 1
            steps.append(Step(call.called_ns, samples=call.samples, dac_ns=call.dac_ns))
            self._delay_timers(steps, self._next - 1)
        return steps

    def _delay_timers(self, steps: Iterable[Step], number: int) -> None:
        """Keep a timer from ringing at this call if in the recording it rang after the call."""
        while self._rang and self._rang[0][0] <= number:
            self._rang.popleft()
        if self._rang:
            _, due_ns = self._rang[0]
            for step in steps:
                if due_ns <= step.at_ns:
                    step.timers_ns = due_ns - ROUNDING_NS
