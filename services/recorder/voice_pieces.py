"""A voice's frames, joined to longer pieces for a viewer of the recording. Pure."""

from __future__ import annotations

from shared import messages
from shared.audio import pcm

Frame = messages.MicClean | messages.SpeakerFrame


class VoicePieces:
    """Joins the frames of one voice. A third of the recording's messages would be such frames."""

    def __init__(self) -> None:
        self._sound = bytearray()
        self._begin_ns = self._published_ns = 0
        self._stream = self._next = 0

    def add(self, frame: Frame, heard_ns: int, published_ns: int) -> None:
        """Add the next frame. ``heard_ns``: when its first sample was at the converter."""
        if not self._sound:
            self._begin_ns, self._published_ns = heard_ns, published_ns
        self._sound += frame.payload
        self._stream = frame.stream
        self._next = frame.position + len(frame.payload) // pcm.SAMPLE_BYTES

    def follows(self, frame: Frame) -> bool:
        """Return whether a frame continues the piece without a gap."""
        return (frame.stream, frame.position) == (self._stream, self._next)

    def take(self) -> tuple[int, int, bytes] | None:
        """Return and remove the piece: when it was heard, when it was published, and its sound."""
        if not self._sound:
            return None
        sound, self._sound = bytes(self._sound), bytearray()
        return self._begin_ns, self._published_ns, sound
