"""The base of every message, the types of its fields, and its limits."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

#: The longest payload of audio, bytes: 0.7 s. At most ten thousand of these wait for a reader that
#: has stopped.
MAX_AUDIO = 32 * 1024

#: The longest payload of text, bytes: three minutes of speech in one server event are 12 MB.
MAX_TEXT = 24 * 1024 * 1024

#: The longest history, bytes.
MAX_TURNS = 1024 * 1024

#: The longest list of functions, bytes: 128 functions with 4 KiB each.
MAX_OFFER = 512 * 1024

#: The longest arguments of a function call, bytes.
MAX_ARGUMENTS = 256 * 1024

#: The longest output of a function call with its pictures, bytes: the server takes 15 MiB.
MAX_OUTPUT = 12 * 1024 * 1024

#: Generations start from the clock in ms and grow by one. A larger generation than this is an
#: error: no generation could follow it.
LAST_GENERATION = 2**62

#: No item has so many samples. A place beyond this is an error of the sender, and the sums of
#: these places would not fit into a message.
MAX_ITEM_SAMPLES = 2**48

#: Any whole number that a message may contain.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]

#: An id, or another short text that a program reads.
Name = Annotated[str, Meta(max_length=512)]

#: Words that somebody said.
Text = Annotated[str, Meta(max_length=64 * 1024)]

#: A text for a person, shown as one line.
Line = Annotated[str, Meta(max_length=1024)]


class Stamp(msgspec.Struct, frozen=True):
    """The fields that the bus adds to each message, after ``v``, the version of the bus."""

    seq: Count
    """The publisher's count of messages on this topic, from 0."""
    epoch: Count
    """When the publisher started, µs since 1970. A new epoch means that it was restarted."""
    t: Count
    """When the message was published, ns of CLOCK_MONOTONIC."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every message. A subclass that carries a payload sets ``payload_limit``."""

    payload_limit: ClassVar[int] = 0
    """The longest payload, bytes."""
    payload_unit: ClassVar[int] = 1
    """A payload is a multiple of this, bytes: audio consists of whole samples."""
    payload: bytes = b""
    """The message's third frame: audio or JSON text. It is not in the header."""


def kinds(base: type[Message] = Message) -> list[type[Message]]:
    """Return every type of message, sorted by name. A type that others extend is none."""
    found = [
        kind
        for each in base.__subclasses__()
        for kind in (kinds(each) if each.__subclasses__() else [each])
    ]
    return sorted(found, key=lambda kind: kind.__name__)


#: The fields in ns that are lengths. All other fields in ns are times of the publisher's
#: CLOCK_MONOTONIC, 0 for none; a reader on another machine translates them.
DURATIONS = frozenset({"latency_ns"})


def moments(kind: type[Message]) -> tuple[str, ...]:
    """Return the names of a message's fields that are times."""
    return tuple(f for f in kind.__struct_fields__ if f.endswith("_ns") and f not in DURATIONS)
