"""The audio of the microphone that a session gets, and the part that the next one gets again. Pure.

A session that is replaced while the person speaks takes the beginning of the turn with it. So the
newest audio is kept, and the next session gets the turn from its beginning: its turn detection then
finds the turn in one piece. The same holds for the words that wake the conversation from its sleep.
"""

from __future__ import annotations

from collections import deque

from shared import messages
from shared.audio import pcm

#: How much audio is kept, samples: 20 s. A longer turn loses its beginning.
KEPT = 20 * pcm.RATE
#: How much missing audio is replaced by silence, samples: 2 s. A restarted stage is back by then.
GAP = 2 * pcm.RATE
#: How much audio from before the waking words the next session gets as well, ns: vad notices speech
#: up to 75 ms late, and the server's turn detection wants up to 0.3 s before it.
LEAD_NS = 400_000_000
#: The length of the chunks in which audio is sent again, samples: 0.5 s.
CHUNK = pcm.RATE // 2


class Microphone:
    """Counts the audio that a session got, and keeps the newest of it.

    ``max_age_ns``: a turn is not sent again if its last frame was captured longer ago than this.
    Audio that arrives so late, all at once, is worse than missing audio.
    """

    def __init__(self, max_age_ns: int) -> None:
        self._max_age_ns = max_age_ns
        # Audio, each with its place in the session's audio, samples, and the time of its capture.
        # Audio that was not sent has the place that the next sent audio gets.
        self._kept: deque[tuple[int, int, bytes]] = deque()
        # When the words began that woke the conversation: the next session gets the audio from
        # LEAD_NS before this time on. 0: no words woke the conversation.
        self._since_ns = 0
        self._woken_ns = 0  # the newest such time that Sleep has named
        self._kept_samples = 0
        self._sent = 0  # samples that the session got
        self._captured_ns = 0  # when the last of them were captured
        self._session = 0
        self._speaking = False  # whether the session's server hears the person
        self._turn = -1  # where the turn begins that is under way, samples; -1: there is none
        self._last_turn: list[bytes] = []  # the turn before, as the server heard it
        self._stream = self._next = 0

    def missing_before(self, frame: messages.MicClean) -> int:
        """Return how many samples are missing before a frame, and note where the frame ends.

        A frame of another stream has no frame before it, so nothing is missing there.
        """
        gap = frame.position - self._next if frame.stream == self._stream else 0
        samples = len(frame.payload) // pcm.SAMPLE_BYTES
        self._stream, self._next = frame.stream, frame.position + samples
        return max(0, gap)

    def sleep(self, sleep: messages.Sleep) -> None:
        """Take downlink's report whether the conversation sleeps, and from when on it is awake."""
        if sleep.asleep:
            self._since_ns = 0
            self.forget_last_turn()
        elif sleep.since_ns > self._woken_ns:
            self._since_ns = self._woken_ns = sleep.since_ns

    def keep(self, captured: bytes, captured_ns: int, *, sent: bool = True) -> None:
        """Keep audio, s16le, that was captured at ``captured_ns``."""
        samples = len(captured) // pcm.SAMPLE_BYTES
        self._kept.append((self._sent, captured_ns, captured))
        self._kept_samples += samples
        if sent:
            self._sent, self._captured_ns = self._sent + samples, captured_ns
        while self._kept_samples > KEPT:
            self._kept_samples -= len(self._kept.popleft()[2]) // pcm.SAMPLE_BYTES

    def reply_state(self, state: messages.ReplyState) -> None:
        """Note whether the server hears the person, and where that turn begins."""
        if state.session != self._session:
            return
        if state.speaking:
            self._turn = pcm.ms_to_samples(state.speech_ms)
        elif self._speaking:
            self._last_turn = self._since(self._turn)
            self._turn = -1
        self._speaking = state.speaking

    @property
    def speaking(self) -> bool:
        """Whether the server hears the person."""
        return self._speaking

    @property
    def has_last_turn(self) -> bool:
        """Whether there is a turn that ended, and whose audio is known."""
        return bool(self._last_turn)

    def forget_last_turn(self) -> None:
        """Forget the turn that ended last: nobody has to answer it."""
        self._last_turn = []

    def repeat_last_turn(self) -> list[bytes]:
        """Return the audio of the turn that ended last, and keep it as audio that the session gets.

        The silence by which the server noticed the end of the turn is a part of it.
        """
        for captured in self._last_turn:
            self.keep(captured, self._captured_ns)
        return _chunks(self._last_turn)

    def turn_begins(self) -> None:
        """Push to talk: begin a turn with the audio that is sent next."""
        self._turn = self._sent

    def turn_ends(self) -> None:
        """Push to talk: end the turn."""
        self._turn = -1

    def begin_session(self, session: int, now_ns: int) -> list[bytes]:
        """Begin with a new session. Return the audio that it has to hear first.

        This audio is a turn that was cut off, or the words that woke the conversation.
        """
        self._session = session
        again: list[bytes] = []
        since_ns, self._since_ns = self._since_ns, 0
        if since_ns and now_ns - since_ns <= KEPT * 1_000_000_000 // pcm.RATE:
            again = [each for _, at_ns, each in self._kept if at_ns >= since_ns - LEAD_NS]
        elif self._turn >= 0 and now_ns - self._captured_ns <= self._max_age_ns:
            again = self._since(self._turn)
        self._kept.clear()
        self._kept_samples = self._sent = 0
        self._turn = 0 if again else -1
        self._speaking = False
        for captured in again:
            self.keep(captured, self._captured_ns)
        return _chunks(again)

    def _since(self, place: int) -> list[bytes]:
        """Return the kept audio from a place in the session's audio on."""
        return [
            captured
            for at, _, captured in self._kept
            if at + len(captured) // pcm.SAMPLE_BYTES > place
        ]


def _chunks(pieces: list[bytes]) -> list[bytes]:
    whole, size = b"".join(pieces), CHUNK * pcm.SAMPLE_BYTES
    return [whole[at : at + size] for at in range(0, len(whole), size)]
