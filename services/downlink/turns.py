"""The person's speech as data: a piece of speech, a turn, and their outcomes.

All times are ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class UtteranceOutcome(enum.Enum):
    """The outcome of a piece of speech."""

    INTERRUPT = "the speech ended the assistant's reply"
    TURN = "the speech is meant for the assistant, and there was no reply to interrupt"
    SCRAP = "the speech was too short to mean anything: the reply goes on"


class TurnOutcome(enum.Enum):
    """The outcome of a turn that the server put into the conversation."""

    ANSWER = "the turn is to be answered"
    SCRAP = "the turn is to be deleted from the conversation"


@dataclass(eq=False)
class Utterance:
    """One piece of speech without a pause, as one detector (vad or the server's) heard it."""

    onset_ns: int
    #: How long the detector still reports speech after the speech has ended, ns.
    hangover_ns: int
    #: When the speech ended; 0 while it goes on.
    end_ns: int = 0
    #: Up to when the detector itself said that the speech went on; 0 if it did not say.
    until_ns: int = 0
    #: Whether vad heard it here. False: this is the server's account.
    local: bool = True
    #: None: not decided yet.
    outcome: UtteranceOutcome | None = None

    @property
    def ended(self) -> bool:
        """Whether the speech is over."""
        return self.end_ns > 0

    def certain_until_ns(self, now_ns: int) -> int:
        """Return the time up to which the speech has certainly gone on."""
        return self.end_ns or self.until_ns or now_ns - self.hangover_ns

    def end_at(self, at_ns: int) -> None:
        """End the speech at ``at_ns``, but at least 1 ns after its onset."""
        self.end_ns = max(at_ns, self.onset_ns + 1)


@dataclass(eq=False)
class Turn:
    """A turn of the person, as the server hears it."""

    item_id: str
    #: When the server reported the start of the turn.
    started_ns: int
    #: The server's account of the speech in the turn.
    server_speech: Utterance
    #: Where the turn begins in the session's input audio, prefix padding included.
    start_ms: int = 0
    #: When the server reported the end of the turn, and the commit; 0 before that.
    stopped_ns: int = 0
    committed_ns: int = 0
    #: The words that the server has transcribed, and whether it has sent all of them.
    text: str = ""
    final: bool = False
    #: None: not decided yet.
    outcome: TurnOutcome | None = None
    #: Whether an answer to the turn was asked for, has begun, or is not wanted any more.
    answer_settled: bool = False
    #: Whether a response has begun since the server ended the turn.
    response_begun: bool = False
