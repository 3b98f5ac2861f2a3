"""A device's blocks, of any length, cut into frames of 20 ms with their place and time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shared.audio import pcm


class Framer:
    """Cuts one stream of blocks, mono s16le at 24 kHz."""

    def __init__(self) -> None:
        self._rest = bytearray()  # samples that do not fill a frame yet
        self._position = 0  # samples since the stream's beginning, of the first of them

    def restart(self) -> None:
        """Begin anew, with another stream."""
        self._rest.clear()
        self._position = 0

    @property
    def position(self) -> int:
        """Where the next block belongs, samples since the stream's beginning."""
        return self._position + len(self._rest) // pcm.SAMPLE_BYTES

    def skip_to(self, position: int) -> None:
        """Go on at another place: what lies between was not wanted."""
        if position != self.position:
            self._rest.clear()
            self._position = position

    def cut(self, block: bytes, at_ns: int) -> Iterator[tuple[bytes, int, int]]:
        """Give the frames that ``block`` completes, with position and time of each.

        ``at_ns`` is when the block's first sample was at the converter.
        """
        begin_ns = at_ns - pcm.samples_to_ns(len(self._rest) // pcm.SAMPLE_BYTES)
        self._rest += block
        at = 0
        while len(self._rest) - at >= pcm.FRAME_BYTES:
            frame = bytes(self._rest[at : at + pcm.FRAME_BYTES])
            yield frame, self._position, max(0, begin_ns)
            at += pcm.FRAME_BYTES
            self._position += pcm.FRAME
            begin_ns += pcm.samples_to_ns(pcm.FRAME)
        del self._rest[:at]
