"""When the device asked for samples, and which messages playback had handled by then. Pure.

`bargein replay` needs both: if a flush is handled one call later, the reply is heard for some 5 ms
longer. The loop notes what it handles, and the device's thread notes each call. They never wait for
each other.
"""

from __future__ import annotations

from collections import deque

from shared.messages import SpeakerCall
from shared.messages.sound import MAX_CALLS


class DeviceCalls:
    """The calls of the device that were not published yet."""

    def __init__(self) -> None:
        self._handled: dict[str, int] = {}
        self._duck_timer_ns = 0  # when the timer that ended since the last call was due, ns
        self._calls: deque[SpeakerCall] = deque()

    def handled(self, topic: str, published_ns: int) -> None:
        """Note on the loop that a message was handled: its topic, and when it was published, ns."""
        self._handled[topic] = published_ns

    def duck_timer_ended(self, due_ns: int) -> None:
        """Note on the loop that the timer of a duck ended, which was due at this time, ns."""
        self._duck_timer_ns = due_ns

    def made(self, called_ns: int, dac_ns: int, position: int, samples: int) -> None:
        """Note a call on the device's thread, before the call takes what the loop has handled.

        ``called_ns``: when it was made. ``dac_ns``: when its first sample is at the converter.
        """
        handled, self._handled = self._handled, {}
        duck_timer_ns, self._duck_timer_ns = self._duck_timer_ns, 0
        self._calls.append(
            SpeakerCall(called_ns, dac_ns, position, samples, handled, duck_timer_ns)
        )

    def take(self) -> list[SpeakerCall]:
        """Return the oldest calls that were not taken yet: as many as one message holds."""
        return [self._calls.popleft() for _ in range(min(len(self._calls), MAX_CALLS))]
