"""The recording of the bus: MCAP files of limited size, whole up to the last second at any time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from mcap.records import Channel, Message, Metadata, Schema
from mcap.writer import CompressionType, Writer

from services.recorder import schemas
from services.recorder.lines import Lines
from services.recorder.redaction import redacted
from services.recorder.voice_pieces import VoicePieces
from shared import messages, recording, registry
from shared.private import open_own, open_regular

#: A chunk is written when it holds this much, bytes, or at the latest when ``flush`` is called.
CHUNK = 1024 * 1024
#: By topic: the channel for a viewer that is made of it, beside the topic's own channel.
VOICE_CHANNELS = {"mic.clean": "/person", "speaker.frame": "/assistant"}
LOG_CHANNEL = "/log"
MEGABYTE = 1_000_000


class BusFile:
    """Writes messages to ``conversation-<time>.mcap``. Raises OSError if that is not possible."""

    def __init__(
        self,
        directory: Path,
        *,
        topics: Iterable[str],
        voices: bool,
        max_mb: int,
        max_minutes: int,
        settings: Mapping[str, Any],
    ) -> None:
        self._directory = directory
        self._topics = frozenset(topics)
        self._voices = voices
        self._most_bytes, self._most_ns = max_mb * MEGABYTE, max_minutes * 60 * 1_000_000_000
        self._settings = settings
        self._lines = Lines()
        self._pieces = {topic: VoicePieces() for topic in VOICE_CHANNELS}
        #: This is added to CLOCK_MONOTONIC for the time since 1970, ns.
        self._since_1970_ns = time.time_ns() - time.monotonic_ns()
        self._begin()

    def write(
        self, topic: registry.Topic, message: messages.Message, stamp: messages.Stamp
    ) -> bool:
        """Write a message if its topic is wanted; return whether a new file was begun."""
        if topic.name not in self._topics:
            return False
        begun = stamp.t - self._begun_ns > self._most_ns or self._bytes > self._most_bytes
        if begun:
            self.close()
            self._begin()
        message = redacted(message, voices=self._voices)
        at_ns = stamp.t + self._since_1970_ns
        self._add(topic.name, topic.type, recording.encode(message, stamp), at_ns, stamp.seq)
        if self._voices and isinstance(message, (messages.MicClean, messages.SpeakerFrame)):
            heard_ns = getattr(message, "captured_ns", 0) or getattr(message, "played_ns", 0)
            if not self._pieces[topic.name].follows(message):
                self._write_piece(topic.name)
            self._pieces[topic.name].add(message, heard_ns, stamp.t)
        if said := self._lines.of(topic.name, message):
            text = schemas.log(at_ns, said[0], topic.publisher, said[1])
            self._add(LOG_CHANNEL, schemas.LOG, text, at_ns)
        return begun

    def flush(self) -> None:
        """Write the messages in memory to the file, so that they outlive this process."""
        self._write_pieces()
        self._writer.flush()
        self._bytes = self._file.tell()

    def close(self) -> None:
        """Write the end of the file: the index and the statistics."""
        try:
            self._write_pieces()
            self._writer.finish()
        finally:
            self._file.close()

    def _begin(self) -> None:
        self.path = _free_path(self._directory)
        self._file = os.fdopen(open_own(self.path), "w+b")
        # A process that repairs recordings leaves this file alone.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._writer = Writer(self._file, CHUNK, CompressionType.ZSTD)
        self._writer.start(profile="", library="bargein")
        self._channels: dict[str, int] = {}
        self._begun_ns = time.monotonic_ns()
        self._bytes = 0  # in the file, at the last flush
        self._writer.add_metadata(
            recording.METADATA,
            {
                "version": recording.VERSION,
                "since_1970_ns": str(self._since_1970_ns),
                "topics": " ".join(sorted(self._topics)),
                "voices": str(self._voices).lower(),
                "settings": msgspec.json.encode(self._settings).decode(),
            },
        )
        self._file.flush()

    def _write_pieces(self) -> None:
        for topic in self._pieces:
            self._write_piece(topic)

    def _write_piece(self, topic: str) -> None:
        """Write the sound of a voice so far, for a viewer."""
        if (piece := self._pieces[topic].take()) is not None:
            heard_ns, published_ns, sound = piece
            text = schemas.raw_audio(heard_ns + self._since_1970_ns, sound)
            at_ns = published_ns + self._since_1970_ns
            self._add(VOICE_CHANNELS[topic], schemas.RAW_AUDIO, text, at_ns)

    def _add(
        self,
        channel: str,
        kind: type[messages.Message] | Mapping[str, Any],
        text: bytes,
        at_ns: int,
        seq: int = 0,
    ) -> None:
        number = self._channels.get(channel)
        if number is None:
            number = self._channels[channel] = self._register(channel, kind)
        self._writer.add_message(number, at_ns, text, at_ns, seq & 0xFFFF_FFFF)

    def _register(self, channel: str, kind: type[messages.Message] | Mapping[str, Any]) -> int:
        schema = kind if isinstance(kind, Mapping) else schemas.of(kind)
        name = schema["title"] if isinstance(kind, Mapping) else f"bargein.{kind.__name__}"
        number = self._writer.register_schema(name, "jsonschema", msgspec.json.encode(schema))
        return self._writer.register_channel(channel, "json", number)


def _free_path(directory: Path) -> Path:
    """Return the path of a new file; its name is the time, as in conversation-20261127-204500."""
    stem = f"conversation-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(
        path for name in names if not (path := directory / f"{name}{recording.SUFFIX}").exists()
    )


def repair(directory: Path) -> Iterator[tuple[Path, OSError | None]]:
    """Write the missing end of each recording here whose recorder was killed.

    Yield the path of each of them, and why it could not be repaired, or None. A recording that
    another process is still writing is left alone.
    """
    for path in sorted(directory.glob(f"*{recording.SUFFIX}")):
        try:
            if _repaired(path):
                yield path, None
        except OSError as error:
            yield path, error


def _repaired(path: Path) -> bool:
    with os.fdopen(open_regular(path), "rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # somebody writes it
        held.seek(0, os.SEEK_END)
        if held.tell() >= 2 * recording.MAGIC_BYTES:
            held.seek(-recording.MAGIC_BYTES, os.SEEK_END)
            end = held.read()
            held.seek(0)
            if end == held.read(recording.MAGIC_BYTES):
                return False
        part = path.with_suffix(".part")
        try:
            with os.fdopen(open_own(part), "w+b") as file:
                copy(path, Writer(file, CHUNK, CompressionType.ZSTD))
            part.replace(path)
        except recording.RecordingError:
            return False
        finally:
            part.unlink(missing_ok=True)
    return True


def copy(path: Path, writer: Writer) -> None:
    """Write all whole records of a file, and then the end."""
    writer.start(profile="", library="bargein")
    numbers: dict[int, int] = {}
    channels: dict[int, int] = {}
    for record in recording.records(path, recording.Recording()):
        match record:
            case Schema():
                if record.id not in numbers:
                    numbers[record.id] = writer.register_schema(
                        record.name, record.encoding, record.data
                    )
            case Channel():
                # The chunk with the schema can be damaged.
                if record.id not in channels and record.schema_id in numbers:
                    channels[record.id] = writer.register_channel(
                        record.topic, record.message_encoding, numbers[record.schema_id]
                    )
            case Metadata():
                writer.add_metadata(record.name, record.metadata)
            case Message() if record.channel_id in channels:
                number = channels[record.channel_id]
                writer.add_message(
                    number, record.log_time, record.data, record.publish_time, record.sequence
                )
    writer.finish()
