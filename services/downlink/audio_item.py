"""One audio part of an assistant's item: how much of it came, and how far it was heard. Pure."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import messages
from shared.audio import pcm

if TYPE_CHECKING:
    from shared.audio.resample import Resampler

#: An item's id and the index of its content part.
Key = tuple[str, int]


#: Replaces the URL-safe alphabet by the standard one, and removes line breaks and blanks.
_VARIANTS = str.maketrans("-_", "+/", " \t\r\n")


class BadAudio(ValueError):
    """Raised when a delta is not base64."""


@dataclass
class AudioItem:
    """One audio content part of an assistant's item."""

    response_id: str
    item_id: str
    content_index: int
    out_of_band: bool
    late: bool = False  # the item began after its response was interrupted
    #: Where the next sample belongs in the item, in samples. A new item starts at 0. An item that
    #: an earlier downlink began goes on where playback's audio of the item ends. If playback has
    #: no audio of that item, it starts at 1.
    received: int = 0
    #: An earlier downlink read the item's beginning, and playback has none of it: nobody knows how
    #: much audio is missing.
    beginning_missing: bool = False
    odd: bytes = b""  # the first half of a sample that was cut in two
    done: bool = False
    truncated: bool = False
    heard_whole: bool = False  # the person heard all of the item
    heard_samples: int = 0  # the most that a playback has reported as heard
    stopped_at: int = -1  # where the playhead stopped for good, in samples; -1: it may still move
    rate: int = pcm.RATE  # of the audio as the server sends it, Hz
    _resampler: Resampler | None = None

    def __post_init__(self) -> None:
        if self.rate != pcm.RATE:
            # NumPy costs 25 MB, and few servers need the conversion.
            from shared.audio.resample import Resampler  # noqa: PLC0415

            self._resampler = Resampler(self.rate, pcm.RATE)

    @property
    def key(self) -> Key:
        """The item's id and the index of its content part."""
        return (self.item_id, self.content_index)

    def take(self, audio: bytes) -> bytes:
        """Count more audio, which may end within a sample. Return its whole samples at 24 kHz."""
        if self.odd:
            audio = self.odd + audio
        even = len(audio) & ~1
        audio, self.odd = audio[:even], audio[even:]
        if self._resampler is not None:
            audio = pcm.from_array(self._resampler.process(pcm.to_array(audio)))
        self.received += len(audio) // pcm.SAMPLE_BYTES
        return audio

    def end(self) -> bytes:
        """End the audio. Return the samples that the conversion of the rate held back."""
        self.done, self.odd = True, b""
        if self._resampler is None:
            return b""
        # The filter returns its last samples once as many samples of silence have followed.
        rest = self.take(bytes(self._resampler.delay * pcm.SAMPLE_BYTES))
        self._resampler = None
        return rest

    def counted(self) -> messages.Received:
        """Return the item's entry in a flush.

        If the beginning is missing, state that nothing was received: playback then reports the item
        as cut, and uplink never takes the item for heard to its end.
        """
        if self.beginning_missing:
            return messages.Received(*self.key, 0, False)
        return messages.Received(*self.key, self.received, self.done)

    def chunk(
        self, generation: int, session: int, start: int, audio: bytes, *, last: bool = False
    ) -> messages.Message:
        """Return a chunk of the audio, which begins at the sample ``start``, as a message."""
        return messages.ReplyAudio(
            generation=generation,
            session=session,
            response_id=self.response_id,
            item_id=self.item_id,
            content_index=self.content_index,
            start=start,
            last=last,
            out_of_band=self.out_of_band,
            payload=audio,
        )

    def state(self) -> messages.ItemState:
        """Return the item's entry in a ReplyState."""
        return messages.ItemState(
            self.response_id,
            self.item_id,
            self.content_index,
            self.received,
            self.done,
            self.truncated,
            self.out_of_band,
            self.late,
        )


def decode(delta: str, item_id: str) -> bytes:
    """Return the bytes of an audio delta. Raises BadAudio if the delta is not base64.

    RFC 4648 lets a protocol leave out the padding (3.2), use the URL-safe alphabet (5) and break
    lines (3.1), and servers do all three. Too much padding is ignored, and any other character is
    an error (3.3).
    """
    try:
        return binascii.a2b_base64(delta, strict_mode=True)
    except ValueError:
        bare = delta.translate(_VARIANTS)
        bare = bare.rstrip("=") or bare
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError as error:
        raise BadAudio(f"audio of item {item_id[:80]} is not base64: {error}") from None
