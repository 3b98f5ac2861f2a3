"""When a session is replaced by a new one: before its time is over, and unnoticed. Pure.

A session lasts an hour at most. Some minutes before, the first quiet moment is taken: nobody speaks
or waits for an answer, nothing is being said or played. When there is none, near the end, what
still plays is let play, since all of it has come; and at the very last nothing is waited for.
"""

from __future__ import annotations

from typing import Literal

#: A moment is quiet when nothing has happened for this long.
QUIET_NS = 500_000_000
#: Who has spoken waits this long for an answer to begin, and a call for what comes of it.
ANSWER_NS = 5_000_000_000
CALL_NS = 60_000_000_000
#: Of the time in which a quiet moment is looked for, how much before its end less will do.
URGENT, FORCED = 5, 10
#: The server's own word on when a session ends is not taken where that would make a session this
#: many times shorter than the settings have it: rather the clocks differ.
SHORTEST = 4

Moment = Literal["", "quiet", "forced"]


class Renewal:
    """Says when to renew: so many ms before the end of a session that lasts ``limit_ms``."""

    def __init__(self, limit_ms: int, before_ms: int) -> None:
        self._limit_ns = limit_ms * 1_000_000
        self._before_ns = before_ms * 1_000_000
        self.session = 0  # the one all this is about
        self._opened_ns = 0
        self._end_ns = 0  # 0: not known yet
        self._speaking = False
        self._playing = False
        self._active: set[str] = set()  # responses under way
        self._awaited_ns = 0  # until then somebody waits for an answer
        self._happened_ns = 0

    def begin_session(self, session: int, opened_ns: int) -> None:
        """Begin with a session, opened at ``opened_ns`` of the same clock as all times here."""
        if session != self.session:
            self.session = session
            self._opened_ns, self._end_ns = opened_ns, opened_ns + self._limit_ns
            self._speaking, self._awaited_ns = False, 0
            self._active.clear()

    def expires(self, at_ns: int) -> None:
        """Learn when the server says the session ends; never later than the settings have it."""
        if at_ns - self._opened_ns >= self._limit_ns // SHORTEST:
            self._end_ns = min(self._end_ns, at_ns)

    def playing(self, now_ns: int, *, playing: bool) -> None:
        """Learn whether something is being played."""
        if playing or self._playing:
            self._happened_ns = now_ns
        self._playing = playing

    def speech_started(self, now_ns: int) -> None:
        """Note that the person began to speak."""
        self._speaking = True
        self.happened(now_ns)

    def speech_stopped(self, now_ns: int) -> None:
        """Note that the person stopped speaking, and waits for an answer."""
        self._speaking, self._awaited_ns = False, now_ns + ANSWER_NS
        self.happened(now_ns)

    def response_created(self, response_id: str, now_ns: int) -> None:
        """Note that a response is under way."""
        self._active.add(response_id)
        self._awaited_ns = 0
        self.happened(now_ns)

    def response_done(self, response_id: str, now_ns: int) -> None:
        """Note that a response is over."""
        self._active.discard(response_id)
        self.happened(now_ns)

    def function_called(self, now_ns: int) -> None:
        """Note that the model called a function, and waits for its output."""
        self._awaited_ns = now_ns + CALL_NS
        self.happened(now_ns)

    def happened(self, now_ns: int) -> None:
        """Note that something happened: no quiet moment yet."""
        self._happened_ns = now_ns

    def moment(self, now_ns: int) -> Moment:
        """Say whether to renew the session now, and why now."""
        if self._end_ns == 0 or now_ns < self._end_ns - self._before_ns:
            return ""
        left = self._end_ns - now_ns
        waits = self._speaking or now_ns < self._awaited_ns or bool(self._active)
        if not (waits or self._playing) and now_ns - self._happened_ns >= QUIET_NS:
            return "quiet"
        if not waits and left <= self._before_ns // URGENT:
            return "quiet"
        return "forced" if left <= self._before_ns // FORCED else ""
