"""A recording of the bus, as an MCAP file: its messages as JSON, and reading them.

Each topic of the bus is a channel of the same name. A message is one JSON object: the fields of its
stamp, its own fields, and its payload. Audio is base64 in ``payload``. A payload of JSON text is
the object ``json``, so that a viewer shows its fields; a text that is not valid JSON is base64.

The times of the file are the publishers' CLOCK_MONOTONIC plus the constant that the metadata record
``bargein`` states, so that a viewer shows the time of day.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import zstandard
from mcap.exceptions import InvalidMagic, McapError
from mcap.records import Channel, Chunk, Metadata
from mcap.records import Message as Record
from mcap.stream_reader import StreamReader, breakup_chunk

from shared import codec, messages, registry
from shared.private import open_regular
from shared.redaction import Refusal
from shared.registry import Topic

#: The name of the metadata record, and the version of a recording: that of the bus whose messages
#: it contains. A recording of the bus of version 2 has version 1.
METADATA, VERSION = "bargein", str(codec.VERSION)
#: The end of a recording's name.
SUFFIX = ".mcap"
#: How an MCAP file begins, bytes.
MAGIC_BYTES = 8
#: A record may not be longer than this, bytes: a damaged file states any length.
LONGEST = 256 * 1024 * 1024


class RecordingError(Refusal):
    """Raised when a file is no recording. The text says why."""


@dataclass(frozen=True)
class Recorded:
    """A message of a recording."""

    topic: Topic
    message: messages.Message
    stamp: messages.Stamp

    def frames(self) -> tuple[bytes, bytes]:
        """Return the header and the payload, as on the bus."""
        return codec.encode(self.message, self.stamp)


@dataclass
class Recording:
    """The facts about a recording whose messages were read."""

    #: This is added to CLOCK_MONOTONIC for the time since 1970, ns.
    since_1970_ns: int = 0
    #: The settings that differed from the defaults, by their dotted key.
    settings: dict[str, Any] = field(default_factory=dict)
    #: The names of the topics that were recorded, whether or not a message came.
    topics: frozenset[str] = frozenset()
    #: Whether the sound was recorded.
    voices: bool = True
    #: Whether the file has its end. A recorder that was killed leaves none.
    complete: bool = False
    #: The version of the recording.
    version: str = VERSION
    #: Messages of another version of Bargein, which were left out.
    unreadable: int = 0
    #: Damaged pieces of the file, each of half a second at most, which were left out.
    damaged: int = 0

    def left_out(self) -> list[str]:
        """Return a line for each reason for which messages were left out."""
        lines = []
        if self.version != VERSION:
            lines.append(
                f"the recording has version {self.version[:20]!r}, and this Bargein reads version"
                f" {VERSION!r}: parts of it may be missing, and a replay may differ"
            )
        if self.unreadable:
            lines.append(f"{self.unreadable} messages of another version were left out")
        if self.damaged:
            lines.append(f"damaged pieces of the file were left out: {self.damaged}")
        return lines


def holds_text(kind: type[messages.Message]) -> bool:
    """Return whether the payload of a message type is JSON text."""
    return bool(kind.payload_limit) and kind.payload_unit == 1


def _no_json() -> msgspec.Raw:
    return msgspec.Raw(b"null")


@functools.cache
def shape(kind: type[messages.Message], *, payload: bool = True) -> type[msgspec.Struct]:
    """Return the type of a message in a recording, with its payload or without."""
    own = get_type_hints(kind, include_extras=True)
    fields: list[Any] = [*get_type_hints(messages.Stamp, include_extras=True).items()]
    for each in msgspec.structs.fields(kind):
        if each.default is not msgspec.NODEFAULT:
            fields.append((each.name, own[each.name], each.default))
        elif each.default_factory is not msgspec.NODEFAULT:
            made = msgspec.field(default_factory=each.default_factory)
            fields.append((each.name, own[each.name], made))
        else:
            fields.append((each.name, own[each.name]))
    fields = [each for each in fields if each[0] != "payload"]
    if not payload:
        return msgspec.defstruct(kind.__name__, fields, kw_only=True)
    if kind.payload_limit:
        fields.append(("payload", bytes, b""))
    if holds_text(kind):
        fields.append(("json", msgspec.Raw, msgspec.field(default_factory=_no_json)))
    return msgspec.defstruct(kind.__name__, fields, kw_only=True)


def encode(message: messages.Message, stamp: messages.Stamp) -> bytes:
    """Return a message as it is in a recording."""
    kind = type(message)
    fields = {name: getattr(message, name) for name in kind.__struct_fields__}
    payload: bytes = fields.pop("payload")
    if payload:
        if holds_text(kind) and _is_json(payload):
            fields["json"] = msgspec.Raw(payload)
        else:
            fields["payload"] = payload
    return msgspec.json.encode(shape(kind)(t=stamp.t, seq=stamp.seq, epoch=stamp.epoch, **fields))


@functools.cache
def _decoder(kind: type[messages.Message], *, payload: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape(kind, payload=payload))


def decode(topic: Topic, text: bytes, *, payload: bool = True) -> Recorded:
    """Return the message that a text in a recording is. Raises msgspec.MsgspecError.

    Without its payload, which can be most of it, a message is read much faster.
    """
    found: Any = _decoder(topic.type, payload=payload).decode(text)
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    stamp = messages.Stamp(seq=fields.pop("seq"), epoch=fields.pop("epoch"), t=fields.pop("t"))
    raw = bytes(fields.pop("json", b"null"))
    if raw != b"null":
        fields["payload"] = raw
    return Recorded(topic, topic.type(**fields), stamp)


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return payload != b"null"


def read(
    path: Path, about: Recording | None = None, payloads: Container[str] = registry.BY_NAME
) -> Iterator[Recorded]:
    """Yield the messages of a recording in the order in which they were recorded.

    ``payloads``: the topics whose payloads are wanted. The others come without theirs.
    ``about`` is filled in meanwhile. A file without its end is read as far as it is whole. Raises
    RecordingError if the file is no recording.
    """
    about = Recording() if about is None else about
    channels: dict[int, Topic] = {}
    for record in records(path, about):
        if isinstance(record, Channel) and record.topic in registry.BY_NAME:
            channels[record.id] = registry.BY_NAME[record.topic]
        elif isinstance(record, Metadata) and record.name == METADATA:
            try:
                about.since_1970_ns = int(record.metadata.get("since_1970_ns", "0"))
                settings = record.metadata.get("settings", "{}")
                about.settings = msgspec.json.decode(settings, type=dict[str, Any])
            except (msgspec.MsgspecError, ValueError) as error:
                raise RecordingError(f"{path}: its metadata cannot be read: {error}") from None
            about.version = record.metadata.get("version", VERSION)
            about.topics = frozenset(record.metadata.get("topics", "").split())
            about.voices = record.metadata.get("voices") != "false"
        elif isinstance(record, Record) and record.channel_id in channels:
            try:
                topic = channels[record.channel_id]
                yield decode(topic, record.data, payload=topic.name in payloads)
            except (msgspec.MsgspecError, ValueError, TypeError):
                about.unreadable += 1


def records(path: Path, about: Recording) -> Iterator[Any]:
    """Yield the records of an MCAP file, as far as it is whole. Raises RecordingError."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            try:
                for record in StreamReader(
                    file, emit_chunks=True, record_size_limit=LONGEST
                ).records:
                    if isinstance(record, Chunk):
                        yield from _parts(record, about)
                    else:
                        yield record
                about.complete = True
            except (InvalidMagic, struct.error) as error:
                if file.tell() <= MAGIC_BYTES:
                    raise RecordingError(f"{path}: not an MCAP file") from error
            except (McapError, ValueError, KeyError):
                pass  # the recorder was killed while it wrote this record
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None


def _parts(chunk: Chunk, about: Recording) -> Iterator[Any]:
    """Yield the records of a chunk. A damaged chunk is counted and left out."""
    try:
        if chunk.uncompressed_size > LONGEST:
            raise McapError(f"a chunk of {chunk.uncompressed_size} bytes")
        yield from breakup_chunk(chunk, validate_crc=True)
    except (McapError, ValueError, KeyError, struct.error, zstandard.ZstdError):
        about.damaged += 1
