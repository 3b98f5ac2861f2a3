"""Link's report about the session: the topic ``link.state`` and the state in link's health."""

from __future__ import annotations

from typing import Literal

from services.link.sending import Sending
from shared import messages
from shared.stage import Stage

State = Literal["connecting", "open", "waiting", "refused", "asleep"]


class SessionReport:
    """The last session, also after its end, and why it ended."""

    def __init__(self, stage: Stage, sending: Sending) -> None:
        self._stage = stage
        self._sending = sending
        self.session = 0
        self._opened_s = 0.0  # when the session was opened, s of CLOCK_MONOTONIC; 0: none is open
        self.cause: messages.Cause = ""
        self.reason = ""

    def begin_session(self, session: int, opened_s: float) -> None:
        """Begin with a session that was opened at ``opened_s``."""
        self.session, self._opened_s, self.reason = session, opened_s, ""

    def end_session(self, now_s: float) -> float:
        """End the session. Return how long it has lasted, s; 0 if there was none."""
        lasted_s = now_s - self._opened_s if self._opened_s else 0.0
        self._opened_s = 0.0
        return lasted_s

    def fall_asleep(self, cause: messages.Cause, reason: str, now_s: float) -> None:
        """End the session, because the conversation sleeps."""
        self.end_session(now_s)
        self.cause = cause
        self._stage.log.info("no session: %s", reason)
        self.publish("asleep", reason)

    def publish(
        self, state: State, reason: str = "", retry_ms: int = 0, round_trip_us: int = 0
    ) -> None:
        """Publish a state.

        ``retry_ms``: the time until the next try, ms. ``round_trip_us``: the time of the session's
        last ping, µs; 0: not known.
        """
        self._stage.ok = state in ("open", "asleep")
        trip = f", round trip {round_trip_us / 1000:.3g} ms" if round_trip_us else ""
        self._stage.state = f"{state} {reason}" if reason else f"{state}{trip}"
        self._stage.publish(
            messages.LinkState(
                state=state,
                session=self.session,
                opened_ns=int(self._opened_s * 1e9),
                cause=self.cause,
                sent=self._sending.sent,
                expired=self._sending.expired,
                retry_ms=retry_ms,
                reason=reason[:1024],
                round_trip_us=round_trip_us,
            )
        )
