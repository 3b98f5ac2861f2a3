"""Whether an answer has to wait for the transcript of the person's turn. Pure.

Some servers are a cascade: they transcribe the turn, and give the words to a model. If such a
server is asked for a response before it has the words, the response misses the turn.
"""

from __future__ import annotations

from services.downlink.speech import MS
from services.downlink.turns import Turn
from shared.config import Config


class TranscriptWait:
    """Says how long the answer to a turn waits for the turn's transcript.

    ``session.answer_after`` decides. With "auto" the answers wait once the server has sent a
    transcript that nobody asked for: then the server itself needs the transcripts.
    """

    def __init__(self, config: Config) -> None:
        session = config.session
        self._waits = session.answer_after == "transcript"
        self._watches = session.answer_after == "auto" and not session.transcription_model
        self._limit_ns = session.transcript_limit_ms * MS

    def transcript_came(self) -> None:
        """Note that the server transcribes the person's turns."""
        self._waits = self._waits or self._watches

    def until_ns(self, turn: Turn) -> int:
        """Return up to when the answer to a committed turn waits at most, ns; 0: it does not."""
        return turn.committed_ns + self._limit_ns if self._waits and not turn.final else 0

    def lasts(self, turn: Turn, now_ns: int) -> bool:
        """Return whether the answer to a committed turn has to wait."""
        return now_ns < self.until_ns(turn)
