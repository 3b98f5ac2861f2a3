"""Messages that carry sound, and what vad hears in it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from shared.messages.base import MAX_AUDIO, Count, Message, Name

#: The most calls in one SpeakerCalls.
MAX_CALLS = 64

TopicName = Annotated[str, Meta(max_length=64)]


class MicFrame(Message, frozen=True, kw_only=True):
    """20 ms of microphone audio, in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count
    """When the microphone was opened, µs since 1970. Positions count from there."""
    position: Count
    """The position of the frame's first sample, samples since the microphone was opened."""
    captured_ns: Count
    """When the first sample was at the microphone's converter, ns of CLOCK_MONOTONIC."""
    overflows: Count
    """How often the device has lost samples since it was opened."""


class MicClean(Message, frozen=True, kw_only=True):
    """20 ms of microphone audio without the assistant's echo: what the server hears."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count
    """When the microphone was opened, µs since 1970, as in MicFrame."""
    position: Count
    """The position of the frame's first sample, samples since the microphone was opened."""
    captured_ns: Count
    """When the first sample was at the microphone's converter, ns of CLOCK_MONOTONIC."""
    overflows: Count
    """How often the device has lost samples since it was opened."""
    far: bool = False
    """Whether the assistant could be heard in the room during this frame."""
    removed_db: Count = 0
    """By how much the echo canceller lowered this frame, dB."""


class Speech(Message, frozen=True, kw_only=True):
    """Whether the person speaks into the microphone, as vad hears it."""

    speaking: bool
    """Whether the person speaks now."""
    at_ns: Count
    """When the speech or the silence began, ns: the time of the audio, not of the decision."""
    onsets: Count = 0
    """How often the person has begun to speak since vad started."""
    until_ns: Count = 0
    """While the person speaks: up to when the audio surely contains speech, ns."""


class ReplyAudio(Message, frozen=True, kw_only=True):
    """A chunk of an item's audio, in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    generation: Count
    """The generation that the chunk belongs to: see Flush."""
    session: Count
    """The session that the chunk came in."""
    response_id: Name
    """The server's id of the response."""
    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    start: Count
    """The position of the chunk's first sample in the item's audio, samples."""
    last: bool = False
    """Whether the item's audio ends with this chunk. The last chunk may be empty."""
    out_of_band: bool = False
    """Whether the response is outside the conversation: then no flush ends it."""


class SpeakerFrame(Message, frozen=True, kw_only=True):
    """Audio that playback has given to the device, silence included, in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count
    """When the speaker was opened, µs since 1970. Positions count from there."""
    position: Count
    """The position of the frame's first sample, samples since the speaker was opened."""
    played_ns: Count
    """When the first sample is at the speaker's converter, ns of CLOCK_MONOTONIC."""


class SpeakerCall(msgspec.Struct, frozen=True):
    """One call of the speaker's device, which asked playback for samples."""

    called_ns: Count
    """When the device asked, ns of CLOCK_MONOTONIC."""
    dac_ns: Count
    """When the first of the samples is at the speaker's converter, ns of CLOCK_MONOTONIC."""
    position: Count
    """The position of the first of the samples, samples since the speaker was opened."""
    samples: Count
    """The length of the audio that the device asked for, samples."""
    handled: Annotated[dict[TopicName, Count], Meta(max_length=16)]
    """By topic: when the newest message was published that playback handled since the call before,
    ns. Topics without such a message are left out."""
    rang_ns: Count = 0
    """When a timer ended the ducking since the call before: the time at which it was due, ns; 0: no
    timer did."""


class SpeakerCalls(Message, frozen=True, kw_only=True):
    """When the speaker's device asked for samples. ``bargein replay`` needs this to replay the
    device.

    Playback publishes it only while somebody subscribes, and not if the device is a browser.
    """

    calls: Annotated[list[SpeakerCall], Meta(max_length=MAX_CALLS)]
    """The calls since the message before, in order."""
