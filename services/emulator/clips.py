"""Recorded speech with word times, which can be cut and joined.

All audio is 16-bit little-endian mono at 24 kHz. Positions are samples; word times are ms. A clip
is decoded only as far as it is read, so that the first samples of a long clip are available at
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from shared.private import read_file

if TYPE_CHECKING:
    from services.emulator.sound import File

RATE: Final = 24000
#: Samples that are decoded at a time: 250 ms, which takes about 2 ms.
_BLOCK: Final = RATE // 4


class VoiceError(Exception):
    """Raised when the recorded voice cannot be used. Its text is the one line that is shown."""


class Word(msgspec.Struct, frozen=True, array_like=True):
    """A word and its time in the audio."""

    text: str
    #: From the start of the audio, ms.
    start_ms: int
    end_ms: int


class Source(Protocol):
    """Audio that can be read from any position: a clip or a tone."""

    @property
    def samples(self) -> int:
        """The length of the audio, samples."""

    def read(self, start: int, stop: int) -> bytes:
        """Return samples ``start`` to ``stop``."""


@dataclass(frozen=True)
class Piece:
    """Samples ``start`` to ``stop`` of a source."""

    source: Source
    start: int
    stop: int


@dataclass(frozen=True)
class Utterance:
    """Spoken audio: pieces that follow one another, and the words in them with their times."""

    #: The name that the log and the journal show.
    label: str
    pieces: tuple[Piece, ...]
    words: tuple[Word, ...]

    @property
    def samples(self) -> int:
        """The length of the audio, samples."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def transcript(self) -> str:
        """The words as one text."""
        return " ".join(word.text for word in self.words)

    def read(self, start: int, stop: int) -> bytes:
        """Return samples ``start`` to ``stop``."""
        parts = []
        at = 0
        for piece in self.pieces:
            length = piece.stop - piece.start
            low, high = max(start - at, 0), min(stop - at, length)
            if low < high:
                parts.append(piece.source.read(piece.start + low, piece.start + high))
            at += length
        return b"".join(parts)

    def cut(self, start_ms: int, stop_ms: int) -> Utterance:
        """Return the audio between two times, to the sample.

        A word that the cut shortens at its end gets a dash.
        """
        start, stop = samples(start_ms), min(samples(stop_ms), self.samples)
        pieces = []
        at = 0
        for piece in self.pieces:
            length = piece.stop - piece.start
            low, high = max(start - at, 0), min(stop - at, length)
            if low < high:
                pieces.append(Piece(piece.source, piece.start + low, piece.start + high))
            at += length
        words = tuple(
            Word(
                word.text if word.end_ms <= stop_ms else word.text.rstrip(".,:;!?—") + "—",
                max(word.start_ms, start_ms) - start_ms,
                min(word.end_ms, stop_ms) - start_ms,
            )
            for word in self.words
            if word.start_ms < stop_ms and word.end_ms > start_ms
        )
        return Utterance(self.label, tuple(pieces), words)

    def last_words(self, end_ms: int, count: int) -> Utterance | None:
        """Return the last ``count`` words that begin before ``end_ms``, cut at ``end_ms``.

        Return None if no word begins before ``end_ms``.
        """
        begun = [word for word in self.words if word.start_ms < end_ms and word.end_ms > 0]
        if not begun:
            return None
        return self.cut(begun[-count:][0].start_ms, end_ms)

    def heard(self, end_ms: int) -> str:
        """Return the text of the words that begin before ``end_ms``; a word cut off gets a dash."""
        return self.cut(0, end_ms).transcript


def join(utterances: Iterable[Utterance]) -> Utterance:
    """Return one utterance that says all of these, one after another."""
    labels: list[str] = []
    pieces: list[Piece] = []
    words: list[Word] = []
    at = 0
    for utterance in utterances:
        offset = round(at * 1000 / RATE)
        labels.append(utterance.label)
        pieces.extend(utterance.pieces)
        words.extend(
            Word(word.text, word.start_ms + offset, word.end_ms + offset)
            for word in utterance.words
        )
        at += utterance.samples
    return Utterance("+".join(labels), tuple(pieces), tuple(words))


def samples(ms: float) -> int:
    """Return the number of samples in ``ms``."""
    return int(ms * RATE) // 1000


class Clip:
    """A recorded file. The decoded audio stays in memory for the next reply that uses it."""

    def __init__(self, path: Path, length: int) -> None:
        self.samples = length
        self._path = path
        self._pcm = bytearray()
        self._file: File | None = None

    def read(self, start: int, stop: int) -> bytes:
        """Return samples ``start`` to ``stop``. Raises VoiceError if the file cannot be decoded."""
        while len(self._pcm) < 2 * min(stop, self.samples):
            self._decode()
        return bytes(memoryview(self._pcm)[2 * start : 2 * stop])

    def _decode(self) -> None:
        from services.emulator import sound  # noqa: PLC0415 (slow to load, so not at the start)

        try:
            if self._file is None:
                self._file = sound.File(self._path)
            block = self._file.read(_BLOCK)
        except sound.BadFile as error:
            raise VoiceError(f"{self._path}: {error}: render the voice again") from None
        # If the file is shorter than its index says, silence fills the rest.
        self._pcm += block or bytes(2 * self.samples - len(self._pcm))
        if len(self._pcm) >= 2 * self.samples:
            self._file.close()
            self._file = None


class _ClipEntry(msgspec.Struct, frozen=True):
    file: str
    samples: int
    transcript: str
    words: tuple[Word, ...]


class _Index(msgspec.Struct, frozen=True):
    rate: int
    greeting: str
    replies: tuple[str, ...]
    stopped: str
    stopped_unheard: str
    onward: str
    long: str
    clips: dict[str, _ClipEntry]


class Voice:
    """The clips of a directory, by name."""

    def __init__(self, directory: Path) -> None:
        """Read ``index.json``. Raises VoiceError if it or a file that it names is missing."""
        path = directory / "index.json"
        try:
            self.index = msgspec.json.decode(read_file(path), type=_Index)
        except OSError as error:
            raise VoiceError(
                f"{path}: {error.strerror}: render the voice (see voice/README.md), or use"
                " --reply tone:5"
            ) from None
        except msgspec.DecodeError as error:
            raise VoiceError(f"{path}: {error}: render the voice again") from None
        if self.index.rate != RATE or not self.index.replies:
            raise VoiceError(f"{path}: not {RATE} Hz, or no replies: render the voice again")
        self._said: dict[str, Utterance] = {}
        for name, entry in self.index.clips.items():
            file = directory / entry.file
            if not file.is_file():
                raise VoiceError(f"{file}: no such file: render the voice again")
            pieces = (Piece(Clip(file, entry.samples), 0, entry.samples),)
            self._said[name] = Utterance(name, pieces, entry.words)

    def say(self, name: str) -> Utterance:
        """Return the clip of this name. Raises VoiceError if the voice has no such clip."""
        try:
            return self._said[name]
        except KeyError:
            names = ", ".join(sorted(self._said))
            raise VoiceError(f"no clip named {name!r} in the voice; it has {names}") from None
