"""The topic ``session.sleep``: downlink puts the conversation to sleep, and wakes it.

``LimitWatch`` says when. This module reads link, vad and the commands, and does what follows.
"""

from __future__ import annotations

from collections.abc import Callable

from services.downlink.limits import LimitWatch, Step
from shared import messages
from shared.owner import Owner

#: The stage goes on for this long after the end of the conversation, ns: link has to close the
#: session, and playback to play a tone of 0.2 s.
CLOSE_NS = 1_000_000_000


class Sleeping:
    """Puts the conversation to sleep, and wakes it.

    ``cut`` ends the reply that is under way. ``farewell`` asks for the assistant's last line.
    """

    def __init__(
        self,
        stage: Owner,
        limits: LimitWatch,
        cut: Callable[[], None],
        farewell: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._limits = limits
        self._cut, self._farewell = cut, farewell
        self._published = False  # whether a Sleep was published; before that, link's state decides
        self._asleep_since_ns = 0  # when the conversation fell asleep

    @property
    def asleep(self) -> bool:
        """Whether the conversation sleeps."""
        return self._limits.asleep

    def link(self, link: messages.LinkState, now_ns: int) -> None:
        """Take link's state. The first one tells a restarted downlink about a sleep."""
        self._limits.session(now_ns, is_open=link.state == "open")
        if not self._published:
            self._published = True
            if link.state == "asleep":
                self._limits.adopt("idle" if link.cause == "idle" else "asked")
                self._sleep(now_ns, link.reason)
            else:
                self._stage.publish(messages.Sleep(asleep=False))

    def speech(self, speech: messages.Speech, now_ns: int) -> None:
        """Take vad's report: speech that began during the sleep can end it."""
        begun = speech.speaking and speech.at_ns > self._asleep_since_ns
        if self._limits.asleep and begun and self._limits.wakes_on_speech and not self._limits.ends:
            self._wake("somebody speaks", speech.at_ns, now_ns)

    def command(self, command: str, at_ns: int, now_ns: int) -> None:
        """Follow a person's command, as far as it concerns the sleep."""
        wakes = command in messages.WAKERS
        if command == "sleep":
            self._limits.ask(now_ns)
        elif wakes and self._limits.asleep and not self._limits.ends:
            awake_since_ns = at_ns if command == "talk" else 0
            self._wake(f"the command {command}", awake_since_ns, now_ns)
        elif wakes and self._limits.cause == "asked" and not self._limits.asleep:
            # The reply that the sleep cuts off has not ended yet: the later command counts.
            self._wake(f"the command {command}", 0, now_ns)

    def step(self, now_ns: int, cost_micros: int, *, busy: bool) -> None:
        """Do what is due. ``busy``: somebody speaks, or an answer is under way."""
        self._limits.costs(cost_micros)
        match self._limits.step(now_ns, busy=busy):
            case Step.CUT:
                self._cut()
            case Step.FAREWELL:
                self._stage.log.info("%s: the assistant says a last line", self._limits.reason)
                self._farewell()
            case Step.CLOSE:
                self._stage.log.info("%s", self._limits.reason)
                self._sleep(now_ns, self._limits.reason)
            case None if self._limits.asleep and self._limits.ends:
                if now_ns - self._asleep_since_ns > CLOSE_NS:
                    self._stage.stop()

    def _sleep(self, now_ns: int, reason: str) -> None:
        self._asleep_since_ns = now_ns
        cause = self._limits.cause
        self._stage.publish(messages.Sleep(asleep=True, cause=cause, reason=reason[:1024]))

    def _wake(self, why: str, awake_since_ns: int, now_ns: int) -> None:
        self._stage.log.info("awake again: %s", why)
        self._limits.wake(now_ns)
        self._stage.publish(messages.Sleep(asleep=False, since_ns=awake_since_ns))
