"""Messages about the assistant's replies, the words of both sides, and the history."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from shared.messages.base import MAX_TURNS, Count, Message, Name, Text


class Received(msgspec.Struct, frozen=True):
    """How much of an item's audio has come from the server."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    received: Count
    """The audio that has come, samples; 0 if downlink did not read the beginning of the item."""
    done: bool
    """Whether the server has said that no more audio will come; false if ``received`` is not
    known."""


class ItemState(msgspec.Struct, frozen=True):
    """Downlink's knowledge about one item with audio."""

    response_id: Name
    """The server's id of the response."""
    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    received: Count
    """The audio that was published, or dropped because it was flushed, samples."""
    done: bool
    """Whether the server has said that no more audio will come."""
    truncated: bool
    """Whether the server has confirmed that it truncated or deleted the item."""
    out_of_band: bool = False
    """Whether the response is outside the conversation: then no flush ends it."""
    late: bool = False
    """Whether the item began after its response was interrupted: then playback plays none of it."""


class ReplyState(Message, frozen=True, kw_only=True):
    """The responses that are under way and the last items with audio."""

    generation: Count
    """The current generation: see Flush."""
    session: Count
    """The session that the responses belong to."""
    active: Annotated[list[Name], Meta(max_length=64)]
    """The ids of the responses that are not done."""
    items: Annotated[list[ItemState], Meta(max_length=64)]
    """The last items with audio, the oldest first."""
    speaking: bool = False
    """Whether the person speaks, as the server hears it."""
    speech_ms: Count = 0
    """While the person speaks: where the turn begins in the session's input audio, ms."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """One place where the text and the audio of an item meet."""

    chars: Count
    """A position in the text, characters."""
    samples: Count
    """The position in the audio, samples, before which the text up to ``chars`` is not spoken to
    its end."""


class Transcript(Message, frozen=True, kw_only=True):
    """The text of an item as far as it has come. Each message replaces the one before it."""

    session: Count
    """The session that the item belongs to."""
    item_id: Name
    """The server's id of the item."""
    role: Literal["user", "assistant"]
    """Who spoke."""
    text: Text
    """The words."""
    final: bool
    """Whether the text is complete."""
    heard: Text = ""
    """Assistant only: the words up to the playhead, once the playhead has stopped."""
    unheard: Text = ""
    """Assistant only: the words after the playhead, once the playhead has stopped."""
    marks: Annotated[list[Mark], Meta(max_length=4096)] = []
    """Where the words are in the audio."""
    written: bool = False
    """Assistant only: whether the reply is text without audio. Then each word counts as heard when
    it comes."""
    begun_ns: Count = 0
    """When link received the event that added the item to the conversation, ns; 0: not known. Order
    items by this time: the words of a person often come after the reply to them has begun."""


class HistoryTurn(msgspec.Struct, frozen=True):
    """One item of the conversation as the person heard it, and which session has it."""

    item_id: Name
    """The server's id of the item in the session that it came from."""
    kind: Literal["message", "function_call", "function_call_output"]
    """The type of the item."""
    role: Literal["user", "assistant", "system", ""]
    """Who spoke; empty unless the item is a message."""
    text: Text
    """The words of a message, the arguments of a call, or the output of a call."""
    told: bool = True
    """Whether a new session gets the item. False if the person heard none of it."""
    name: Name = ""
    """The name of the function that is called."""
    call_id: Name = ""
    """The id of the call, in a call and in its output."""
    session: Count = 0
    """The session whose conversation contains the item."""
    known_as: Name = ""
    """The item's id in that session."""
    new_id: Name = ""
    """The id that the item gets in any other session."""


class History(Message, frozen=True, kw_only=True):
    """The conversation as the person heard it. A new session gets it.

    The payload is a JSON list of HistoryTurn in the order of the conversation.
    """

    payload_limit: ClassVar[int] = MAX_TURNS
    session: Count
    """The session that the conversation takes place in."""
