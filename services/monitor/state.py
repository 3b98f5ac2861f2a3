"""The state of the conversation, in one word, from what the bus says. Pure.

Times are ns of CLOCK_MONOTONIC. `State.now` decides by the newest messages alone, so the order in
which messages of different stages arrive does not matter for long.
"""

from __future__ import annotations

from typing import Literal

from shared import messages
from shared.settings import Interruption

Word = Literal[
    "asleep", "offline", "connecting", "listening", "hearing", "thinking", "speaking", "ducked",
    "calling",
]  # fmt: skip

S = 1_000_000_000
#: link repeats its state each second. A link that was silent for 5 s is gone.
LINK_NS = 5 * S
#: An answer begins within some seconds after the person's last word, or none comes.
THINKING_NS = 8 * S


class State:
    """The state of the conversation. The stage passes in each message, and asks `now`."""

    def __init__(self, rules: Interruption) -> None:
        self._ducks = rules.duck != "off" and rules.decide in ("server", "client")
        self._duck_ns = rules.duck_limit_ms * 1_000_000
        self._link: messages.LinkState | None = None
        self._link_ns = 0
        self._speech: messages.Speech | None = None
        self._scrap_ns = 0  # the onset of the last speech that was judged to interrupt nothing
        self._playing = self._active = self._calls = False
        #: Whether the server hears the person.
        self.hears = False
        self._spoke_ns = 0  # when the person last stopped speaking, and no answer has begun since

    def link(self, link: messages.LinkState, now_ns: int) -> None:
        """Take link's state."""
        self._link, self._link_ns = link, now_ns

    def speech(self, speech: messages.Speech) -> None:
        """Take what vad hears."""
        self._speech = speech

    def turn_decision(self, decision: messages.TurnDecision) -> None:
        """Take what downlink decided about the person's speech."""
        if decision.judged == "scrap":
            self._scrap_ns = decision.onset_ns

    def reply(self, state: messages.ReplyState, now_ns: int) -> None:
        """Take which responses are under way, and whether the server hears the person."""
        if self.hears and not state.speaking:
            self._spoke_ns = now_ns
        self.hears, self._active = state.speaking, bool(state.active)
        if self._active:
            self._spoke_ns = 0

    def heard(self, heard: messages.Heard) -> None:
        """Take whether a reply plays."""
        self._playing = heard.playing
        if heard.playing:
            self._spoke_ns = 0

    def tools(self, state: messages.ToolState) -> None:
        """Take which function calls run."""
        self._calls = bool(state.calls)

    def now(self, now_ns: int) -> Word:
        """Return the state at a time."""
        link = self._link
        if link is not None and link.state == "asleep":
            return "asleep"
        if link is None or now_ns - self._link_ns > LINK_NS or link.state in ("waiting", "refused"):
            return "offline"
        if link.state == "connecting":
            return "connecting"
        if self._playing:
            return "ducked" if self._is_ducked(now_ns) else "speaking"
        if self.hears:
            return "hearing"
        if self._calls:
            return "calling"
        waits = self._spoke_ns and now_ns - self._spoke_ns < THINKING_NS
        return "thinking" if self._active or waits else "listening"

    def _is_ducked(self, now_ns: int) -> bool:
        speech = self._speech
        return (
            self._ducks
            and speech is not None
            and speech.speaking
            and speech.at_ns > self._scrap_ns
            and now_ns - speech.at_ns < self._duck_ns
        )
