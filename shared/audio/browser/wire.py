"""The messages between a page and its voice server. Pure. docs/browser.md is the reference.

All numbers in binary messages are little-endian float64. Positions count samples at 24 kHz. Clocks
are the page's audio clock in seconds.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.audio import pcm

#: The WebSocket subprotocol. A page cannot set headers, so the token is a second subprotocol.
PROTOCOL = "bargein.voice"
TOKEN_PREFIX = "token."
#: The longest message of a page, in bytes: a second of sound at 24 kHz, and more.
MAX_MESSAGE = 64 * 1024

#: Close codes: another page is the device now; the page did not keep to the protocol; the page
#: reported nothing for too long.
TAKEN, BROKEN, SILENT = 4000, 4001, 4002


class BadPage(Exception):
    """Raised when a page sends a message that is not valid. Its text is one line."""


class About(msgspec.Struct, frozen=True, tag_field="type", tag="about"):
    """Text, page → server: the first message, and again when something changes."""

    #: ms from the converter to the page (microphone) or from the page to the converter (speaker)
    latency_ms: Annotated[float, Meta(ge=0, le=5000)]
    label: Annotated[str, Meta(max_length=200)] = ""  # the device, for people
    muted: bool = False  # the browser or the system has muted the microphone


class Recall(msgspec.Struct, frozen=True, tag_field="type", tag="recall"):
    """Text, server → page: fade out within ``fade`` samples and drop the rest.

    Once the fade was rendered, the page's reports carry ``id``.
    """

    id: int
    fade: int


@dataclass(frozen=True)
class PageReport:
    """Binary, page → server: how far the page has rendered."""

    position: int  # of the first sample that the next render quantum plays
    clock_s: float  # when that quantum begins
    silence: int  # samples of silence that the page has played because it had nothing else
    recall: int  # the last recall that took effect; 0: none


@dataclass(frozen=True)
class PageBlock:
    """Binary, page → server: a block of the microphone's sound."""

    position: int  # of the first sample
    clock_s: float  # when that sample was at the page
    pcm: bytes  # s16le


_REPORT = struct.Struct("<4d")
_HEADER = struct.Struct("<2d")
_PLACE = struct.Struct("<d")
#: The largest whole number up to which a float64 has no gaps.
_LARGEST = 2**53


def about(text: str) -> About:
    """Return a text message of a page. Raises BadPage."""
    try:
        return msgspec.json.decode(text, type=About)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadPage(f"not a valid message: {error}") from None


def report(data: bytes) -> PageReport:
    """Return a report of a page. Raises BadPage."""
    try:
        position, clock_s, silence, recall = _REPORT.unpack(data)
    except struct.error:
        raise BadPage(f"a report of {len(data)} bytes: expected {_REPORT.size}") from None
    return PageReport(_whole(position), _clock(clock_s), _whole(silence), _whole(recall))


def block(data: bytes) -> PageBlock:
    """Return a block of the microphone's sound. Raises BadPage."""
    sound = data[_HEADER.size :]
    if len(data) < _HEADER.size or len(sound) % pcm.SAMPLE_BYTES:
        raise BadPage(f"a block of {len(data)} bytes is no header and whole samples")
    position, clock_s = _HEADER.unpack_from(data)
    return PageBlock(_whole(position), _clock(clock_s), sound)


def encode_report(made: PageReport) -> bytes:
    """Return a report as a page sends it."""
    return _REPORT.pack(made.position, made.clock_s, made.silence, made.recall)


def encode_block(block: PageBlock) -> bytes:
    """Return a block of the microphone's sound as a page sends it."""
    return _HEADER.pack(block.position, block.clock_s) + block.pcm


def audio(position: int, sound: bytes) -> bytes:
    """Return a binary message to a page: samples (s16le) and the position of the first one."""
    return _PLACE.pack(position) + sound


def decode_audio(data: bytes) -> tuple[int, bytes]:
    """Return the position and the samples of a message to a page."""
    return int(_PLACE.unpack_from(data)[0]), data[_PLACE.size :]


def _whole(number: float) -> int:
    if not 0 <= number < _LARGEST:  # also false for NaN
        raise BadPage(f"{number} is no position")
    return int(number)


def _clock(clock_s: float) -> float:
    if not (math.isfinite(clock_s) and 0 <= clock_s < 1e9):
        raise BadPage(f"{clock_s} is no time of an audio clock")
    return clock_s


Direction = Literal["microphone", "speaker"]
