"""Push to talk: which of the microphone is sent, and what is said when the button is let go.

Pure. What was spoken before the button was let go may still be on its way when it is: so frames go
by when they were captured, and the turn is closed only when one comes that was captured after.
"""

from __future__ import annotations

from typing import Literal

from shared.audio import pcm

#: A commit takes no less than this, ms; the server refuses it, a second later.
MIN_COMMIT_MS = 100


class Talk:
    """The button, and the turn that is spoken while it is pressed."""

    def __init__(self) -> None:
        self._open_ns = -1  # since when the button is pressed; -1: it is not
        self._until_ns = -1  # when it was let go, while the turn is not closed yet
        self._samples = 0

    @property
    def closing(self) -> bool:
        """Whether the button was let go and the turn is not closed."""
        return self._until_ns >= 0

    def press(self, at_ns: int) -> None:
        """The button is pressed: what was sent before belongs to no turn."""
        self._open_ns, self._until_ns, self._samples = at_ns, -1, 0

    def let_go(self, at_ns: int) -> None:
        """The button is let go."""
        if self._open_ns >= 0:
            self._until_ns = at_ns

    def anew(self, samples: int = 0) -> None:
        """Another session has begun, whose buffer holds so much of the turn."""
        self._samples = samples

    def takes(self, captured_ns: int, samples: int) -> bool:
        """Whether a frame captured at ``captured_ns`` is sent."""
        sent = 0 <= self._open_ns <= captured_ns and not (0 <= self._until_ns <= captured_ns)
        if sent:
            self._samples += samples
        return sent

    def over(self, captured_ns: int) -> bool:
        """Whether a frame captured then tells that all of the turn has come."""
        return 0 <= self._until_ns <= captured_ns

    def close(self) -> Literal["commit", "clear"]:
        """Close the turn; give what the server is told."""
        enough = self._samples >= pcm.ms_to_samples(MIN_COMMIT_MS)
        self._open_ns, self._until_ns, self._samples = -1, -1, 0
        return "commit" if enough else "clear"
