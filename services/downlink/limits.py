"""When the conversation has to end or to sleep, and which steps come first. Pure.

At a limit, a reply that is under way may finish, but only for a while. Then the assistant says a
last line, unless nobody is there to hear it. All times are ns of one clock.
"""

from __future__ import annotations

import enum
from typing import Literal

from shared.settings import Limits

MINUTE_NS = 60_000_000_000
#: The assistant's last line has to begin within 5 s of the request, and to end within 15 s.
BEGIN_NS, LAST_LINE_NS = 5_000_000_000, 15_000_000_000
#: After a reply was cut off, the last line waits for quiet, but only for 2 s: the server needs a
#: moment to end its answer, and a person who goes on speaking must not put the limit off.
QUIET_NS = 2_000_000_000

Cause = Literal["", "idle", "limit", "asked"]


class Step(enum.Enum):
    """The next step at a limit."""

    CUT = enum.auto()  # end the reply that is under way
    FAREWELL = enum.auto()  # ask for the assistant's last line
    CLOSE = enum.auto()  # sleep or end


class LimitWatch:
    """Watches the limits of one conversation."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: Whether the conversation sleeps, or has ended, and why.
        self.asleep = False
        self.cause: Cause = ""
        self._text = ""  # the limit that was reached, in words
        self._reached_ns = 0  # when it was reached
        self._cut = False  # whether the reply was cut off
        self._cut_ns = 0  # when it was cut off
        self._farewell_ns = 0  # when the last line was asked for; 0: it was not
        self._begun = False  # whether the last line has begun
        self._active_ns = 0  # what `awake_ns` returned when somebody last spoke
        self._open_ns: int | None = None  # since when there is a session; None: there is none
        self._awake_ns = 0  # how long the earlier sessions lasted together
        self._cost = 0
        # `awake_ns` and the cost when the conversation last woke: the limits count from there.
        self._base_awake_ns = self._base_cost = 0

    # what happens

    def session(self, now_ns: int, *, is_open: bool) -> None:
        """Note whether there is a session."""
        if not is_open:
            self._awake_ns, self._open_ns = self.awake_ns(now_ns), None
        elif self._open_ns is None:
            self._open_ns = now_ns

    def costs(self, micros: int) -> None:
        """Note what the conversation costs so far, in millionths."""
        self._cost = micros

    def ask(self, now_ns: int) -> None:
        """Follow a person's command to sleep."""
        if not self.asleep:
            self._reach("asked", "you asked for it", now_ns)
            self._cut = False

    def adopt(self, cause: Cause) -> None:
        """Go on sleeping: an earlier downlink put the conversation to sleep."""
        self.asleep, self.cause = True, cause

    def wake(self, now_ns: int) -> None:
        """Wake the conversation. The limits count anew."""
        self.asleep, self.cause = False, ""
        self._farewell_ns, self._begun, self._cut = 0, False, False
        self._active_ns = self._base_awake_ns = self.awake_ns(now_ns)
        self._base_cost = self._cost

    # what follows

    def awake_ns(self, now_ns: int) -> int:
        """Return how long the conversation has had a session."""
        return self._awake_ns + (0 if self._open_ns is None else now_ns - self._open_ns)

    @property
    def wakes_on_speech(self) -> bool:
        """Whether speech in the room ends this sleep."""
        chosen = self._limits.wake_on_speech
        return chosen == "always" or (chosen == "idle" and self.cause == "idle")

    @property
    def ends(self) -> bool:
        """Whether the conversation ends for good."""
        return self._limits.then == "end" and self.cause != "asked"

    @property
    def says_farewell(self) -> bool:
        """Whether the assistant says a last line."""
        return self.cause == "limit" and bool(self._limits.farewell)

    @property
    def reason(self) -> str:
        """Why the conversation sleeps, and what wakes it, for a person."""
        if self.ends:
            return f"the conversation has ended: {self._text}"
        speak = "speak, " if self.wakes_on_speech else ""
        typed = "type a line in the console, press the button of push to talk"
        wakers = f"{speak}{typed}, or run 'bargein control wake'"
        return f"the conversation sleeps, because {self._text}. To wake it, {wakers}"

    def step(self, now_ns: int, *, busy: bool) -> Step | None:
        """Return what to do now. ``busy``: somebody speaks, or an answer is under way."""
        if busy:
            self._active_ns = self.awake_ns(now_ns)
        if self.asleep:
            return None
        if not self.cause:
            self._look(now_ns)
        if not self.cause:
            return None
        if self._farewell_ns:
            return self._end_farewell(now_ns, busy=busy)
        if self.cause == "idle" and busy:
            self.cause = ""
            return None
        if busy and not self._cut:
            patience_ns = 0 if self.cause == "asked" else int(self._limits.finish_s * 1e9)
            if now_ns - self._reached_ns < patience_ns:
                return None
            self._cut, self._cut_ns = True, now_ns
            return Step.CUT
        if self.says_farewell and self._open_ns is not None:
            if not busy:
                self._farewell_ns, self._cut = now_ns, False
                return Step.FAREWELL
            if now_ns - self._cut_ns < QUIET_NS:
                return None
        self.asleep = True
        return Step.CLOSE

    def _end_farewell(self, now_ns: int, *, busy: bool) -> Step | None:
        waited_ns = now_ns - self._farewell_ns
        self._begun = self._begun or busy
        over = self._begun and not busy
        if over or waited_ns > (LAST_LINE_NS if self._begun else BEGIN_NS) or self._open_ns is None:
            if busy and not self._cut:
                self._cut = True
                return Step.CUT
            self.asleep = True
            return Step.CLOSE
        return None

    def _look(self, now_ns: int) -> None:
        limits = self._limits
        total_ns = self.awake_ns(now_ns)
        awake_ns = total_ns - self._base_awake_ns
        if limits.max_cost and self._cost - self._base_cost >= limits.max_cost * 1e6:
            self._reach("limit", f"limits.max_cost = {limits.max_cost:g} was reached", now_ns)
        elif limits.max_minutes and awake_ns >= limits.max_minutes * MINUTE_NS:
            self._reach("limit", f"limits.max_minutes = {limits.max_minutes:g} was reached", now_ns)
        elif limits.idle_minutes and total_ns - self._active_ns >= limits.idle_minutes * MINUTE_NS:
            text = f"nobody spoke for limits.idle_minutes = {limits.idle_minutes:g}"
            self._reach("idle", text, now_ns)

    def _reach(self, cause: Cause, text: str, now_ns: int) -> None:
        self.cause, self._text, self._reached_ns = cause, text, now_ns
