"""When to replace a session by a new one: before its time is over, and unnoticed. Pure.

A session lasts an hour at most. Some minutes before its end, downlink waits for a quiet moment:
nobody speaks or waits for an answer, and nothing is generated or played. If none comes, a moment
near the end is quiet enough even if a reply plays: all of its audio has come, so it plays on. At
the very end the session is replaced even while somebody speaks.
"""

from __future__ import annotations

import enum

#: A moment is quiet if nothing has happened for 0.5 s, which is longer than a pause between two
#: events of one reply.
QUIET_NS = 500_000_000
#: A person who has stopped speaking waits up to 5 s for an answer to begin. A function call waits
#: up to a minute for its output.
ANSWER_NS = 5_000_000_000
CALL_NS = 60_000_000_000
#: A reply of which nothing was heard for 10 s waits for somebody to hear it: the longest pause of a
#: reply that plays, while it is decided whether the person interrupts, is a fraction of that.
STILL_NS = 10_000_000_000
#: The search for a quiet moment lasts `before_ms`. In the last fifth of that time, a reply that
#: plays does not count. In the last tenth, nothing counts. Both are divisors of that time.
IGNORE_PLAYING_SHARE, FORCED_SHARE = 5, 10
#: The end that the server names is ignored if the session would then last less than a quarter of
#: the configured limit: more likely the two clocks differ.
SHORTEST_SHARE = 4


class Moment(enum.Enum):
    """Why a session is to be renewed now."""

    QUIET = "nobody will notice"
    FORCED = "the session ends soon, and there was no quiet moment"


class Renewal:
    """Says when to renew a session: at most ``before_ms`` before its end.

    A session lasts ``limit_ms``, or less if the server says so. All times are ns of one clock.
    """

    def __init__(self, limit_ms: int, before_ms: int) -> None:
        self._limit_ns = limit_ms * 1_000_000
        self._before_ns = before_ms * 1_000_000
        #: The session that is open; 0 before the first.
        self.session = 0
        self._opened_ns = 0
        self._end_ns = 0  # 0: no session is open yet
        self._speaking = False
        self._playing = False
        self._heard = self._moved_ns = 0  # how much was heard, and when that changed last
        self._responses: set[str] = set()  # responses under way
        self._waiting_until_ns = 0  # until then an answer or a call's output is waited for
        self._last_event_ns = 0  # when anything happened that makes a moment unquiet

    def begin_session(self, session: int, opened_ns: int) -> None:
        """Note that a session was opened at ``opened_ns``. A known session changes nothing."""
        if session != self.session:
            self.session = session
            self._opened_ns, self._end_ns = opened_ns, opened_ns + self._limit_ns
            self._speaking, self._waiting_until_ns = False, 0
            self._responses.clear()

    def expires(self, at_ns: int) -> None:
        """Note when the server ends the session. The configured limit still holds."""
        if at_ns - self._opened_ns >= self._limit_ns // SHORTEST_SHARE:
            self._end_ns = min(self._end_ns, at_ns)

    # what happens

    def playing(self, now_ns: int, *, playing: bool, heard: int = 0) -> None:
        """Note whether anything is played. ``heard``: how much was heard, samples of all items."""
        if playing != self._playing or heard != self._heard:
            self._heard, self._moved_ns = heard, now_ns
        if playing or self._playing:
            self._last_event_ns = now_ns
        self._playing = playing

    def speech_started(self, now_ns: int) -> None:
        """Note that the person began to speak."""
        self._speaking = True
        self._last_event_ns = now_ns

    def speech_stopped(self, now_ns: int) -> None:
        """Note that the person stopped speaking, and now waits for an answer."""
        self._speaking, self._waiting_until_ns = False, now_ns + ANSWER_NS
        self._last_event_ns = now_ns

    def response_created(self, response_id: str, now_ns: int) -> None:
        """Note that a response began."""
        self._responses.add(response_id)
        self._waiting_until_ns = 0
        self._last_event_ns = now_ns

    def response_done(self, response_id: str, now_ns: int) -> None:
        """Note that a response ended."""
        self._responses.discard(response_id)
        self._last_event_ns = now_ns

    def function_called(self, now_ns: int) -> None:
        """Note that the model called a function, whose output is now waited for."""
        self._waiting_until_ns = now_ns + CALL_NS
        self._last_event_ns = now_ns

    def conversation_changed(self, now_ns: int) -> None:
        """Note a new item, or new words of the person."""
        self._last_event_ns = now_ns

    # what follows

    def moment(self, now_ns: int) -> Moment | None:
        """Return why to renew the session now, or None if it is to go on."""
        if self._end_ns == 0 or now_ns < self._end_ns - self._before_ns:
            return None
        left_ns = self._end_ns - now_ns
        busy = self._busy(now_ns)
        if not (busy or self._playing) and now_ns - self._last_event_ns >= QUIET_NS:
            return Moment.QUIET
        if not busy and left_ns <= self._before_ns // IGNORE_PLAYING_SHARE:
            return Moment.QUIET
        return Moment.FORCED if left_ns <= self._before_ns // FORCED_SHARE else None

    def somebody_speaks(self, now_ns: int) -> bool:
        """Return whether the person or the assistant speaks, or an answer is awaited.

        A reply that waits for a page or a speaker counts only for STILL_NS: nobody hears it.
        """
        plays = self._playing and now_ns - self._moved_ns < STILL_NS
        return plays or self._busy(now_ns)

    def _busy(self, now_ns: int) -> bool:
        return self._speaking or now_ns < self._waiting_until_ns or bool(self._responses)
