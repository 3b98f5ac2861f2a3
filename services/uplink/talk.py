"""Push to talk: which microphone frames are sent, and how the turn ends. Pure.

Frames travel, so the last frames of a turn arrive after the button was released. A frame therefore
belongs to the turn by the time of its capture, and the turn ends when a frame arrives that was
captured after the release.
"""

from __future__ import annotations

import enum

from shared.audio import pcm

#: The server refuses a shorter turn, ms, and says so only a second later.
MIN_COMMIT_MS = 100


class TurnEnd(enum.Enum):
    """The requests that uplink sends to the server when a turn ends."""

    COMMIT = enum.auto()  # take the audio as a turn
    CLEAR = enum.auto()  # forget the audio: it is too short


class Talk:
    """The push-to-talk button, and the turn that is spoken while the button is pressed."""

    def __init__(self) -> None:
        self._pressed_ns = -1  # when the button was pressed; -1: there is no turn
        self._released_ns = -1  # when the button was released, until the turn is closed; else -1
        self._samples = 0  # of the turn, in the session's buffer

    @property
    def closing(self) -> bool:
        """Whether the button was released and the turn is not closed."""
        return self._released_ns >= 0

    def press(self, at_ns: int) -> None:
        """Begin a turn."""
        self._pressed_ns, self._released_ns, self._samples = at_ns, -1, 0

    def release(self, at_ns: int) -> None:
        """End the turn with what was captured by ``at_ns``."""
        if self._pressed_ns >= 0:
            self._released_ns = at_ns

    def begin_session(self, samples: int = 0) -> None:
        """Go on in a new session, whose buffer has this many samples of the turn."""
        self._samples = samples

    def take(self, captured_ns: int, samples: int) -> bool:
        """Count a frame if it belongs to the turn. Return whether it does."""
        after_release = 0 <= self._released_ns <= captured_ns
        taken = 0 <= self._pressed_ns <= captured_ns and not after_release
        if taken:
            self._samples += samples
        return taken

    def ends_with(self, captured_ns: int) -> bool:
        """Return whether a frame shows that the whole turn has arrived."""
        return 0 <= self._released_ns <= captured_ns

    def close(self) -> TurnEnd:
        """Close the turn, and return what to ask of the server."""
        enough = self._samples >= pcm.ms_to_samples(MIN_COMMIT_MS)
        self._pressed_ns, self._released_ns, self._samples = -1, -1, 0
        return TurnEnd.COMMIT if enough else TurnEnd.CLEAR
