"""The types of the messages on the bus. The text below a field says what the field means.

Units: a field whose name ends in ``_ns`` is in nanoseconds, ``_ms`` in milliseconds, ``_db`` in
decibels. Positions and lengths of audio are in samples at 24 kHz. Audio is mono s16le at 24 kHz. No
field is a float, so no reader has to guard against NaN.

A language whose numbers are doubles can hold every field. Counts that start from the wall clock
(``epoch``, ``session``, ``stream``) are microseconds since 1970, which stay below 2^53. Each is
larger than the one before, even if the clock was set back: see shared/numbers.py. Times stay below
2^53 for 104 days after the machine has started; then a double rounds them by 1 ns.
"""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, Literal

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

#: Any whole number that a message may contain.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: An id, or another short text that a program reads.
Name = Annotated[str, Meta(max_length=512)]
#: Words that somebody said.
Text = Annotated[str, Meta(max_length=64 * 1024)]
#: A text for a person, shown as one line.
Line = Annotated[str, Meta(max_length=1024)]

#: Why a connection ended, or was not made.
Cause = Literal[
    "",  # there was no connection before
    "renewed",  # we replaced it before its time was over
    "expired",  # the server's time for a session was over
    "closed",  # the server closed it
    "reset",  # it broke
    "silent",  # the server did not answer our pings
    "stalled",  # the server took no more data
    "unresolved",  # the server's name was not found
    "unreachable",  # nobody answered at the server's address, or not in time
    "busy",  # no connection now: HTTP 5xx, 408, 425, 429, or no free slot, or no quota left
    "garbled",  # the answer was in another protocol
    "hostile",  # the server sent more than a conversation can contain
    "refused",  # the server, or something in its place (a proxy, a portal), does not accept us
    "idle",  # the conversation sleeps: nobody spoke for limits.idle_minutes
    "limit",  # the conversation sleeps: limits.max_minutes or limits.max_cost was reached
    "asked",  # the conversation sleeps: a person's command said so
]


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


class ClientEvent(Message, frozen=True, kw_only=True):
    """One event for the server, as JSON text in the payload."""

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count
    """The session that the event is meant for (``LinkState.session``). Link drops it in any
    other."""
    expires_ns: Count = 0
    """Link drops and counts the event if it is not sent by this time, ns; 0: never."""


class ServerEvent(Message, frozen=True, kw_only=True):
    """One event from the server: its JSON text in the payload.

    The text is unchanged, except that the API key is replaced by ``****``.
    """

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count
    """The session that the event came in."""
    received_ns: Count
    """When link read the event from the WebSocket, ns."""


class LinkState(Message, frozen=True, kw_only=True):
    """Whether link has a session with the server: one WebSocket connection."""

    state: Literal["connecting", "open", "waiting", "refused", "asleep"]
    """``waiting``: until the next try; ``refused``: the server has never accepted us, and link has
    stopped trying; ``asleep``: the conversation sleeps, so there is no session (see Sleep)."""
    session: Count = 0
    """The open session, or else the last one: the time at which it was opened, µs since 1970. Each
    new session has a larger number. 0: there was none."""
    opened_ns: Count = 0
    """When the session was opened, ns."""
    cause: Cause = ""
    """Why the session before this one ended, or why there is no session."""
    sent: Count = 0
    """The number of client events that were sent in this session."""
    expired: Count = 0
    """The number of client events that were dropped because they were too old, since link
    started."""
    retry_ms: Count = 0
    """While waiting: the time until the next try, ms."""
    reason: Line = ""
    """The cause in words, with what to do, for a person. Empty while a session is open."""


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


class Received(msgspec.Struct, frozen=True):
    """How much of an item's audio has come from the server."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    received: Count
    """The audio that has come, samples; 0 if downlink did not read how the item begins."""
    done: bool
    """Whether the server has said that no more will come; false if ``received`` is not known."""


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
    """Whether the item began after its response was interrupted: then none of it is played."""


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
    """The text up to there is spoken no earlier than at this position in the audio, samples."""


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
    """Assistant only: whether the reply is text that nobody speaks. Then there is nothing to hear:
    the words count as they come."""


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
    held_as: Name = ""
    """The item's id in that session."""
    new_id: Name = ""
    """The id that the item gets in any other session."""


class History(Message, frozen=True, kw_only=True):
    """The conversation as the person heard it, which a new session is given.

    The payload is a JSON list of HistoryTurn in the order of the conversation.
    """

    payload_limit: ClassVar[int] = MAX_TURNS
    session: Count
    """The session that the conversation takes place in."""


class Renew(Message, frozen=True, kw_only=True):
    """A request to replace a session, because its time will soon be over."""

    session: Count
    """The session to replace. Link ignores the request in any other."""
    forced: bool
    """Whether somebody speaks: there was no quiet moment in time."""


class SessionRequest(Message, frozen=True, kw_only=True):
    """Downlink's requests to uplink that concern a session as a whole. Each is rare."""

    session: Count
    """The session that the requests concern."""
    refused: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=64)] = []
    """The fields of ``session.update`` that the server refuses, by their path: uplink leaves them
    out. When the list grows, uplink sends the update again."""
    apart: bool = False
    """Whether uplink sends an update for each field, because the server has refused the whole
    update and did not say why."""
    input_rate: Count = 24_000
    """The rate of the person's voice as the server takes it, Hz."""
    resume: Literal["", "answer", "continue"] = ""
    """``answer``: the connection was lost before the answer to the last turn began; ``continue``:
    it cut a reply off. Uplink asks for a response, once in the session; empty: it does not."""
    farewell: Line = ""
    """The instructions of the assistant's last line before the conversation sleeps or ends. Uplink
    asks for that line once in the session; empty: it does not."""


class Sleep(Message, frozen=True, kw_only=True):
    """Whether the conversation sleeps.

    While it sleeps, link has no session and uplink sends nothing, so that nothing is billed. The
    history is kept, and the session after the sleep gets it.
    """

    asleep: bool
    """Whether the conversation sleeps now."""
    cause: Literal["", "idle", "limit", "asked"] = ""
    """Why it sleeps: nobody spoke for ``limits.idle_minutes``; another limit was reached; a
    person's command. Empty while it is awake."""
    reason: Line = ""
    """The cause in words, with what wakes the conversation, for a person."""
    since_ns: Count = 0
    """Awake again: the next session hears the person from this time on, ns; 0: from its start
    on."""


class Spent(msgspec.Struct, frozen=True):
    """What was used, by kind, and what it costs. A field is in tokens unless it says otherwise.

    The tokens of the cache are part of the input: a sum of ``input_…`` and ``cached_…`` would count
    them twice.
    """

    responses: Count = 0
    """The number of responses."""
    input_text: Count = 0
    """Text that the model read, with the part that was in the cache."""
    input_audio: Count = 0
    """Audio that the model heard, with the part that was in the cache."""
    input_image: Count = 0
    """Images that the model saw, with the part that was in the cache."""
    cached_text: Count = 0
    """The part of ``input_text`` that was in the cache, which is cheaper."""
    cached_audio: Count = 0
    """The part of ``input_audio`` that was in the cache."""
    cached_image: Count = 0
    """The part of ``input_image`` that was in the cache."""
    output_text: Count = 0
    """Text that the model wrote: words, calls and reasoning."""
    output_audio: Count = 0
    """Audio that the model spoke."""
    transcripts: Count = 0
    """The number of the person's turns that were transcribed."""
    transcript_audio: Count = 0
    """Audio that the transcription heard, if it is billed by tokens."""
    transcript_text: Count = 0
    """Text that the transcription read, if it is billed by tokens."""
    transcript_output: Count = 0
    """Text that the transcription wrote, if it is billed by tokens."""
    transcript_ms: Count = 0
    """Audio that the transcription heard, if it is billed by duration, ms."""
    cost_micros: Count = 0
    """An estimate of the cost by ``[prices]``, in millionths of their currency."""


class Usage(Message, frozen=True, kw_only=True):
    """What the conversation has used, and an estimate of its cost."""

    session: Count
    """The session of the last response."""
    response_id: Name = ""
    """The server's id of the last response."""
    last: Spent = Spent()
    """The last response."""
    conversation: Spent = Spent()
    """The whole conversation, since downlink's conversation began."""
    day: Spent = Spent()
    """All conversations of this user with this server on ``date``."""
    date: Name = ""
    """The day of ``day`` by this machine's clock, YYYY-MM-DD."""
    awake_ms: Count = 0
    """How long the conversation has had a session, ms. Sleep does not count."""
    currency: Name = ""
    """The currency of the costs: ``prices.currency``."""
    priced_on: Name = ""
    """The date on which the prices were true: ``prices.date``."""
    unpriced: Annotated[list[Name], Meta(max_length=64)] = []
    """The models that were used and have no price in ``[prices]``: their cost is missing in the
    estimates."""


class Control(Message, frozen=True, kw_only=True):
    """A person's command. Only monitor publishes commands: see docs/door.md.

    Mute and volume are no commands but positions, which a restarted stage has to learn: see Panel.
    """

    command: Literal[
        "interrupt", "talk", "release", "say", "type", "approve", "deny", "sleep", "wake"
    ]
    """``interrupt``: stop the reply; ``talk`` and ``release``: the button of push to talk; ``say``:
    the assistant says ``text``, or with ``role`` the text becomes a part of the conversation;
    ``type``: the person writes ``text``, which interrupts and is answered; ``approve`` and
    ``deny``: whether the call ``id`` may run; ``sleep`` and ``wake``: close the session, and open
    it again."""
    text: Text = ""
    """``say`` and ``type``: the text."""
    role: Literal["", "user", "assistant", "system"] = ""
    """``say``: whose text it is; empty: the assistant says the text."""
    id: Name = ""
    """``approve`` and ``deny``: the id of the call."""


class Panel(Message, frozen=True, kw_only=True):
    """The positions of the person's switches."""

    muted: bool = False
    """Whether the microphone is muted. Then echo publishes silence."""
    volume: Annotated[int, Meta(ge=0, le=100)] = 100
    """How loud playback plays, percent; 100: as loud as the reply came."""


class TurnDecision(Message, frozen=True, kw_only=True):
    """Downlink's decision about the person's speech, and its requests to uplink."""

    session: Count
    """The session that the decision is about."""
    judged: Literal["", "interrupt", "resume"] = ""
    """The last judgement: the speech interrupts the reply, or the reply resumes; empty: none."""
    onset_ns: Count = 0
    """When the judged speech began, as in Speech, ns; 0: only the server heard it."""
    answer: Count = 0
    """The number of the response that uplink has to ask for, which only grows; 0: none."""
    after: Count = 0
    """The generation of the flush whose report the server gets before that request; 0: none."""
    unwanted: Annotated[list[Name], Meta(max_length=64)] = []
    """The ids of items that uplink has to delete. An id is listed until its item is gone."""
    talk: bool = False
    """Push to talk: whether the microphone is open."""
    talk_ns: Count = 0
    """Push to talk: when the microphone was last opened or closed, ns."""


class ToolOffer(Message, frozen=True, kw_only=True):
    """The functions that the model may call, as a JSON list in the payload.

    Each entry of the list is one of ``session.tools``: type, name, description, parameters.
    """

    payload_limit: ClassVar[int] = MAX_OFFER
    names: Annotated[list[Name], Meta(max_length=256)] = []
    """The names of the functions."""


class ToolCall(Message, frozen=True, kw_only=True):
    """A function call of the model, with its arguments as JSON text in the payload."""

    payload_limit: ClassVar[int] = MAX_ARGUMENTS
    session: Count
    """The session that the call came in."""
    response_id: Name
    """The server's id of the response that has the call."""
    call_id: Name
    """The server's id of the call. Each one is run at most once."""
    name: Name
    """The name of the function."""
    action: Literal["run", "cancel", "approve"] = "run"
    """``run``: run the function; ``cancel``: the person interrupted the call, and the settings say
    that it ends; ``approve``: the server itself will run the function, on an MCP server that it is
    connected to, and asks for a person's approval. ``call_id`` is then the id of that request."""
    server: Name = ""
    """With ``approve``: the label of the MCP server."""


class ToolOutput(msgspec.Struct, frozen=True):
    """The payload of a ToolResult: what a function returned."""

    text: str = ""
    """The output as text, or the reason why there is none."""
    images: Annotated[list[str], Meta(max_length=8)] = []
    """Pictures, as data URLs (``data:image/png;base64,…``)."""


class ToolResult(Message, frozen=True, kw_only=True):
    """What a function has returned, as a ToolOutput in JSON in the payload."""

    payload_limit: ClassVar[int] = MAX_OUTPUT
    what: Literal["output", "notice", "approval"] = "output"
    """``output``: the output of the call ``call_id``; ``notice``: a function has something to say
    without being called, such as a timer that is due; ``approval``: the person's answer to the
    request ``call_id`` of the server."""
    call_id: Name = ""
    """The id of the call, or of the request for an approval; empty in a notice."""
    name: Name = ""
    """The name of the function."""
    ok: bool = True
    """Whether the function returned a value. False: it failed, ran for too long or was cancelled,
    or the person has not approved it."""
    took_ms: Count = 0
    """How long the function ran, ms."""


class ToolRun(msgspec.Struct, frozen=True):
    """One call that has no output yet."""

    call_id: Name
    """The server's id of the call, or of its request for an approval."""
    name: Name
    """The name of the function."""
    state: Literal["queued", "running", "asking"]
    """``queued``: as many calls run as may run at once; ``asking``: the call waits for a person's
    approval."""
    number: Name = ""
    """``asking``: the number by which a person approves or denies the call."""
    summary: Line = ""
    """The function's name and its arguments, for a person."""


class ToolState(Message, frozen=True, kw_only=True):
    """The calls that tools has taken and not answered."""

    calls: Annotated[list[ToolRun], Meta(max_length=64)] = []
    """The calls, the oldest first."""


class Flush(Message, frozen=True, kw_only=True):
    """The order to be silent now: every stage drops the audio of older generations.

    A *generation* is the audio between two flushes. Each chunk of audio says to which one it
    belongs, so that a stage can tell stale audio from new audio in whichever order they arrive.
    """

    generation: Count
    """The generation that begins now. It only grows, and only downlink advances it."""
    session: Count
    """The session that the flushed replies belong to."""
    cause: Name
    """``speech_started``: the server heard the person; ``judged``: downlink decided so;
    ``control``: a command, or the button of push to talk; ``limit``: the conversation is about to
    sleep or to end, and waited for the reply long enough; ``abandoned``: nothing plays, and some of
    the audio that has come will never be heard."""
    event_ns: Count
    """When the flush was caused, ns. ``speech_started``: when link received that event; ``judged``:
    when downlink decided; ``control``: when the command was published. A command or a button can
    come before the answer that it ends. Downlink then flushes that answer when it begins, and this
    is that time. With ``client`` the cause is then ``judged``. ``abandoned``: 0."""
    received: Annotated[list[Received], Meta(max_length=64)]
    """The items of which it is not known that they were heard to their end."""
    interrupted: Annotated[list[Name], Meta(max_length=64)]
    """The ids of the responses that are never played again."""
    active: Annotated[list[Name], Meta(max_length=64)]
    """Those of the interrupted responses that were under way."""


class HeardItem(msgspec.Struct, frozen=True):
    """How far an item was heard."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    heard: Count
    """The audio that counts as heard, samples: up to the playhead, or to the first gap if that is
    sooner."""
    received: Count
    """The audio that playback knows of, samples."""
    done: bool
    """Whether no more audio will come."""
    broken: bool = False
    """Whether some of the audio never came: then ``heard`` ends at the gap at the latest."""
    cut: bool = False
    """Whether a flush has ended the item."""

    @property
    def whole(self) -> bool:
        """Whether all of the item was heard."""
        return self.done and not self.broken and self.heard >= self.received


class Heard(Message, frozen=True, kw_only=True):
    """The playhead: how much of which item was given to the device."""

    generation: Count
    """The newest generation that playback knows of: see Flush. 0 at the start."""
    session: Count
    """The session of the last chunk that came; 0 before the first."""
    playing: bool
    """Whether anything is left to give to the device: queued audio (also while it waits), or a
    fade."""
    items: Annotated[list[HeardItem], Meta(max_length=64)]
    """The last items, in playing order."""


class FlushTimes(Message, frozen=True, kw_only=True):
    """One flush and the time of each hop: what FlushReport and Interruption have in common."""

    generation: Count
    """The generation that began with the flush."""
    session: Count
    """The session that the interrupted reply belongs to."""
    cause: Name
    """The flush's cause, or ``lost flush`` if newer audio arrived without its flush. In an
    Interruption also ``told late``: a restarted uplink told the server about an earlier flush."""
    event_ns: Count
    """When the flush was caused, ns: as in Flush; 0: not known, as for a lost flush."""
    flush_ns: Count
    """When downlink published the flush, ns; 0: not known, as for a lost flush."""
    received_ns: Count
    """When playback received the flush, or noticed that it was lost, ns; 0: playback did not report
    it."""
    silent_ns: Count
    """When playback gave, or will give, the device the first silence, ns; 0: playback did not
    report it."""
    latency_ns: Count
    """The device's own delay, ns: the silence can be heard this much later. A length, no time. 0:
    not known."""
    onset_ns: Count = 0
    """When the person began to speak, as in Speech, ns; 0: vad did not hear it, or the cause is not
    ``speech_started`` or ``judged``."""
    ducked_ns: Count = 0
    """When playback gave the device the first lowered sample, ns; 0: it did not duck."""


class FlushReport(FlushTimes, frozen=True, kw_only=True):
    """The result of a flush at playback, with the time of each hop.

    Published once for each flush that was not ignored, and for a lost flush that cut something.
    """

    items: Annotated[list[HeardItem], Meta(max_length=64)]
    """The items that were cut and not whole, in playing order."""


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


class Report(msgspec.Struct, frozen=True):
    """Uplink's report to the server about one item of an interrupted reply."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    heard_ms: Count
    """The audio that was heard, ms."""
    received_ms: Count
    """The audio that had come, ms."""
    action: Literal["truncate", "delete", "none"]
    """What uplink asked the server to do with the item."""
    audio_end_ms: Count
    """With ``truncate``: where the server cuts the audio, ms."""
    heard_text: Text = ""
    """The words that were heard, as nearly as the transcript tells."""


class Interruption(FlushTimes, frozen=True, kw_only=True):
    """The record of one interruption: the time of each hop, and what uplink told the server."""

    reports: Annotated[list[Report], Meta(max_length=64)]
    """What uplink told the server, item by item."""
    cancelled: Annotated[list[Name], Meta(max_length=64)]
    """The ids of the responses that uplink cancelled."""


class Health(Message, frozen=True, kw_only=True):
    """A stage's own account of itself, published once a second by the stage's loop."""

    pid: Count
    """The process's id."""
    ok: bool
    """Whether the stage can do its work."""
    state: Line
    """What the stage is doing, for a person."""
    counters: dict[Name, Count]
    """How often something that should be noticed has happened since the stage started, by name."""
    received: dict[Name, Count] = {}
    """The messages that the stage has taken since it started, by topic. It has each topic that the
    stage reads, also those with no message."""
    silent: Annotated[list[Name], Meta(max_length=64)] = []
    """The topics on which messages should arrive and do not: a live topic without a message for
    3 s, or a state topic whose last message is more than 10 s old."""
    off_rate: Annotated[list[Name], Meta(max_length=64)] = []
    """The live topics whose rate was less than 0.8 or more than 1.2 of their nominal rate in the
    last 5 s. A silent topic is not listed."""


def kinds() -> list[type[Message]]:
    """Return every type of message, sorted by name."""
    found = [
        k for k in (*Message.__subclasses__(), *FlushTimes.__subclasses__()) if k is not FlushTimes
    ]
    return sorted(found, key=lambda kind: kind.__name__)


#: The fields in ns that are lengths. All other fields in ns are times of the publisher's
#: CLOCK_MONOTONIC, 0 for none; a reader on another machine translates them.
DURATIONS = frozenset({"latency_ns"})


@functools.cache
def moments(kind: type[Message]) -> tuple[str, ...]:
    """Return the names of a message's fields that are times."""
    return tuple(f for f in kind.__struct_fields__ if f.endswith("_ns") and f not in DURATIONS)
