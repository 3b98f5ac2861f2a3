"""The microphone as a session is given it, and what of it the next one is to hear again. Pure.

When a session is replaced in mid-turn, the server has heard a part of that turn and forgets it. So
what was captured last is kept, and what of it belongs to the turn goes to the new session first:
its turn detection finds the turn in one piece.
"""

from __future__ import annotations

from collections import deque

from shared import messages
from shared.audio import pcm

#: So much is kept, samples. A turn that is longer loses its beginning.
KEPT = 20 * pcm.RATE
#: What never came, because a stage was restarted, is silence, up to so much.
GAP = 2 * pcm.RATE
#: What is sent again goes in stretches of so much.
STRETCH = pcm.RATE // 2


class Microphone:
    """Counts what a session was given, and keeps the last of it.

    ``max_age_ns``: a turn of which nothing was sent for longer is not taken up again: what comes
    that late, in a burst, is worse than what is missing.
    """

    def __init__(self, max_age_ns: int) -> None:
        self._max_age_ns = max_age_ns
        # with the place in the session's audio, samples: of what was not given, the next one
        self._kept: deque[tuple[int, bytes]] = deque()
        self._samples = 0  # that are kept
        self._given = 0  # samples
        self._given_ns = 0  # when the last of them were captured
        self._session = 0
        self._speaking = False  # the person, as its server hears it
        self._turn = -1  # where the turn that is under way begins, samples; -1: none is
        self._stream = self._next = 0

    def missing(self, frame: messages.MicClean) -> int:
        """Give how many samples of the same stream should have come before a frame."""
        gap = frame.position - self._next if frame.stream == self._stream else 0
        samples = len(frame.payload) // pcm.SAMPLE_BYTES
        self._stream, self._next = frame.stream, frame.position + samples
        return max(0, gap)

    def keep(self, captured: bytes, given_ns: int = 0) -> None:
        """Keep s16le; ``given_ns``: it was given to the session, and captured then."""
        samples = len(captured) // pcm.SAMPLE_BYTES
        self._kept.append((self._given, captured))
        self._samples += samples
        if given_ns:
            self._given, self._given_ns = self._given + samples, given_ns
        while self._samples > KEPT:
            self._samples -= len(self._kept.popleft()[1]) // pcm.SAMPLE_BYTES

    def said(self, state: messages.ReplyState) -> None:
        """Learn whether the person is in a turn, as the server hears it, and since when."""
        if state.session != self._session:
            return
        if state.speaking:
            self._turn = pcm.ms_to_samples(state.speech_ms)
        elif self._speaking:
            self._turn = -1
        self._speaking = state.speaking

    def turn_begins(self) -> None:
        """Push to talk: a turn begins with what is given next."""
        self._turn = self._given

    def turn_ends(self) -> None:
        """Push to talk: the turn is over."""
        self._turn = -1

    def anew(self, session: int, now_ns: int) -> list[bytes]:
        """Begin with another session; give what of a turn it is to hear first, in stretches."""
        self._session = session
        again: list[bytes] = []
        if self._turn >= 0 and now_ns - self._given_ns <= self._max_age_ns:
            again = [
                captured
                for place, captured in self._kept
                if place + len(captured) // pcm.SAMPLE_BYTES > self._turn
            ]
        self._kept.clear()
        self._samples = self._given = 0
        self._turn = 0 if again else -1
        for captured in again:
            self.keep(captured, self._given_ns)
        whole, size = b"".join(again), STRETCH * pcm.SAMPLE_BYTES
        return [whole[at : at + size] for at in range(0, len(whole), size)]
