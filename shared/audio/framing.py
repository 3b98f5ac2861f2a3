"""Cuts a device's blocks, of any length, into frames of 20 ms with position and time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shared.audio import pcm


class Framer:
    """Cuts one stream of blocks, mono s16le at 24 kHz."""

    def __init__(self) -> None:
        self._rest = bytearray()  # less than a frame
        self._position = 0  # of the first sample in ``_rest``, from the stream's beginning

    def restart(self) -> None:
        """Drop the samples that do not fill a frame, and begin another stream at position 0."""
        self._rest.clear()
        self._position = 0

    @property
    def position(self) -> int:
        """The position of the next block's first sample, from the stream's beginning."""
        return self._position + len(self._rest) // pcm.SAMPLE_BYTES

    def skip_to(self, position: int) -> None:
        """Continue at another position; drop the samples before it that do not fill a frame.

        Every frame begins at a multiple of its length, so that a replay cuts the same frames. The
        frame in which ``position`` lies begins with silence.
        """
        if position != self.position:
            missing = position % pcm.FRAME
            self._rest[:] = bytes(missing * pcm.SAMPLE_BYTES)
            self._position = position - missing

    def cut(self, block: bytes, at_ns: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the frames that ``block`` completes, each with its position and its time in ns.

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
