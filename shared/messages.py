"""The messages on the bus: their fields with units, and their bytes.

A message travels as three frames, ``[topic, header, payload]``. The header is one msgpack map:
``v`` (the bus version), ``seq`` and ``epoch`` (the publisher's count for this topic, and the moment
it started), ``t`` (when it was published) and the message's own fields. The payload is raw: PCM or
JSON text, never inside the map. Times are nanoseconds of CLOCK_MONOTONIC, positions and lengths are
samples at 24 kHz; no field is a float, so there is no NaN to guard against.

A language whose numbers are doubles can hold every field. Counts that start from the wall clock
(``epoch``, ``session``, ``stream``) are microseconds since 1970, which stays below 2^53. Times stay
below it for 104 days after the machine has started; then a double rounds them by 1 ns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_type_hints

import msgpack
import msgspec
from msgspec import Meta
from msgspec.structs import astuple

VERSION = 2
MAX_HEADER = 1024 * 1024  # a transcript with every field at its limit fits
MAX_AUDIO = 32 * 1024  # 0.7 s; ten thousand of these wait at most, for a reader that has stopped
MAX_TEXT = 24 * 1024 * 1024
MAX_TURNS = 1024 * 1024

#: Generations begin from the clock, ms, and grow by one: one that is larger than this is a lie,
#: after which there would be none to follow.
LAST_GENERATION = 2**62

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(max_length=512)]
Text = Annotated[str, Meta(max_length=64 * 1024)]
Line = Annotated[str, Meta(max_length=1024)]

#: Why a connection ended, or did not come about.
Cause = Literal[
    "",  # there was none before
    "renewed",  # replaced before its time was over
    "expired",  # the server's time for a session was over
    "closed",  # the server closed it
    "reset",  # it broke off
    "silent",  # no answer to our pings
    "stalled",  # it took nothing any more
    "unresolved",  # the server's name was not found
    "unreachable",  # nobody answered there, or not in time
    "busy",  # the server, or a proxy, cannot for now (HTTP 5xx, 429)
    "garbled",  # what answered speaks another protocol
    "refused",  # we are not let in: another try is of no use
]


class BadMessage(ValueError):
    """Raised when bytes from the bus are not a message of the topic they came under."""


class Stamp(msgspec.Struct, frozen=True):
    """What the bus adds to a message."""

    seq: Count  # the publisher's count of messages on this topic, from 0
    epoch: Count  # when the publisher started, µs since 1970: a new one means a restart
    t: Count  # ns, when it was published


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every message. A subclass that carries a payload sets ``payload_limit``."""

    payload_limit: ClassVar[int] = 0  # bytes
    payload_unit: ClassVar[int] = 1  # bytes: audio comes in whole samples
    payload: bytes = b""


class MicFrame(Message, frozen=True, kw_only=True):
    """20 ms of microphone, mono s16le at 24 kHz in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count  # when the device was opened, µs since 1970: positions count from it
    position: Count  # samples since the opening, of the first sample here
    captured_ns: Count  # when the first sample was at the converter
    overflows: Count  # times the device lost samples since the opening


class MicClean(Message, frozen=True, kw_only=True):
    """20 ms of microphone without the assistant's echo: what the server hears."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count  # this and the next three as in MicFrame
    position: Count
    captured_ns: Count
    overflows: Count
    far: bool = False  # the assistant could be heard in the room meanwhile
    removed_db: Count = 0  # by how much the echo canceller lowered this frame, dB


class Speech(Message, frozen=True, kw_only=True):
    """Whether someone speaks into the microphone, as heard here. The last one says all."""

    speaking: bool
    at_ns: Count  # when it began or ended, of the audio, not of the decision
    onsets: Count = 0  # how often someone began to speak since vad started
    until_ns: Count = 0  # while speaking: how far it has surely gone on, of the audio


class ClientEvent(Message, frozen=True, kw_only=True):
    """One event for the server, JSON text in the payload."""

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count  # the connection it is meant for (LinkState.session): never sent to another
    expires_ns: Count = 0  # dropped, and counted, when not sent by then; 0: never


class ServerEvent(Message, frozen=True, kw_only=True):
    """One event from the server, its JSON text untouched in the payload."""

    payload_limit: ClassVar[int] = MAX_TEXT
    session: Count
    received_ns: Count  # when the WebSocket gave it


class LinkState(Message, frozen=True, kw_only=True):
    """Whether the WebSocket is up.

    ``session`` names one connection: when it was opened, µs since 1970. It grows with each.
    """

    state: Literal["connecting", "open", "waiting", "refused"]
    session: Count = 0  # 0 while there has been none
    opened_ns: Count = 0  # when it was opened
    cause: Cause = ""  # why the one before it ended, or why there is none
    sent: Count = 0  # client events sent over this session
    expired: Count = 0  # client events dropped because they were too old, since link started
    retry_ms: Count = 0  # while waiting: how long until the next try
    reason: Line = ""


class ReplyAudio(Message, frozen=True, kw_only=True):
    """A stretch of an item's audio, mono s16le at 24 kHz in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    generation: Count  # see Flush
    session: Count
    response_id: Name
    item_id: Name
    content_index: Count
    start: Count  # samples from the start of the item's audio
    last: bool = False  # the item's audio ends with this stretch (which may be empty)
    out_of_band: bool = False  # of a response outside the conversation: no flush ends it
    joined: bool = False  # how the item begins was not read: start is counted from what was


class Received(msgspec.Struct, frozen=True):
    """How much of an item's audio has come from the server."""

    item_id: Name
    content_index: Count
    received: Count  # samples
    done: bool  # the server has said that there is no more
    joined: bool = False  # see ReplyAudio


class ItemState(msgspec.Struct, frozen=True):
    """What downlink knows of one audio item."""

    response_id: Name
    item_id: Name
    content_index: Count
    received: Count  # samples published, or dropped as stale
    done: bool
    truncated: bool  # the server has confirmed a truncation or a deletion
    out_of_band: bool = False
    late: bool = False  # it began after its response was interrupted: none of it is played


class ReplyState(Message, frozen=True, kw_only=True):
    """The responses under way and the last items with audio, oldest first."""

    generation: Count
    session: Count
    active: Annotated[list[Name], Meta(max_length=64)]  # responses not yet done
    items: Annotated[list[ItemState], Meta(max_length=64)]
    speaking: bool = False  # the person, as the server hears it
    speech_ms: Count = 0  # while speaking: where the turn begins in the session's audio


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The text up to ``chars`` is spoken no earlier than at ``samples``."""

    chars: Count
    samples: Count


class Transcript(Message, frozen=True, kw_only=True):
    """The text of an item as far as it has come; each message replaces the one before it."""

    session: Count
    item_id: Name
    role: Literal["user", "assistant"]
    text: Text
    final: bool
    heard: Text = ""  # the assistant's: the words up to the playhead, once it stands still
    unheard: Text = ""  # and those after it
    marks: Annotated[list[Mark], Meta(max_length=4096)] = []  # where the words are in the audio


class Turn(msgspec.Struct, frozen=True):
    """One item of the conversation as it was heard, and where the server has it."""

    item_id: Name  # the server's, in the session it came from
    kind: Literal["message", "function_call", "function_call_output"]
    role: Literal["user", "assistant", "system", ""]  # of a message
    text: Text  # its words, a call's arguments, an output
    told: bool = True  # a session is to have it: not where nothing of it was heard
    name: Name = ""  # of a call
    call_id: Name = ""  # of a call and its output
    session: Count = 0  # the connection whose conversation has it
    held_as: Name = ""  # its id there
    new_id: Name = ""  # the id to give it anywhere else


class History(Message, frozen=True, kw_only=True):
    """The conversation as heard: its turns in their order, a JSON list of Turn in the payload.

    It is what a new session is to be given; see ``write_turns`` and ``read_turns``.
    """

    payload_limit: ClassVar[int] = MAX_TURNS
    session: Count  # the connection that is spoken over


class HistoryMirror(Message, frozen=True, kw_only=True):
    """The last History that uplink has seen, from which a restarted downlink learns it again."""

    payload_limit: ClassVar[int] = MAX_TURNS
    session: Count


class Renew(Message, frozen=True, kw_only=True):
    """Replace this session's connection: its time will soon be over."""

    session: Count
    forced: bool  # though somebody speaks: there was no quiet moment


class Control(Message, frozen=True, kw_only=True):
    """A person's command. ``talk`` and ``release``: push to talk."""

    command: Literal["interrupt", "talk", "release"]


class TurnDecision(Message, frozen=True, kw_only=True):
    """What downlink makes of the person's speech, and what is to follow. The last one says all."""

    session: Count
    judged: Literal["", "interrupt", "resume"] = ""  # the last judgement; resume: the reply goes on
    onset_ns: Count = 0  # of the speech it is about, as in Speech; 0: heard by the server alone
    answer: Count = 0  # a response is wanted: the number of this wish, which only grows; 0: none is
    after: Count = 0  # the flush whose outcome the server is to know first, by generation; 0: none
    unwanted: Annotated[list[Name], Meta(max_length=64)] = []  # items to take out, until it is done
    talk: bool = False  # push to talk: the microphone is open
    talk_ns: Count = 0  # since when it is open, or closed


class Flush(Message, frozen=True, kw_only=True):
    """Be silent now: everything of an older generation is dropped, wherever it is."""

    generation: Count  # only ever grows; downlink alone advances it
    session: Count
    # "speech_started": the server heard the person; "judged": we did; "control": a command;
    # "abandoned": nothing plays, and some of what was said never will
    cause: Name
    event_ns: Count  # when the event that caused it came from the server, or when it was judged
    received: Annotated[list[Received], Meta(max_length=64)]  # of items not known to be heard
    interrupted: Annotated[list[Name], Meta(max_length=64)]  # responses that are not played again
    active: Annotated[list[Name], Meta(max_length=64)]  # those of them that were under way


class HeardItem(msgspec.Struct, frozen=True):
    """How far an item was heard."""

    item_id: Name
    content_index: Count
    heard: Count  # samples, from the item's start to the playhead
    received: Count  # samples known of
    done: bool  # received is all there will be
    broken: bool = False  # some of it never came; heard goes no further than to there
    cut: bool = False  # a flush has ended it

    @property
    def whole(self) -> bool:
        """Whether all of it was heard."""
        return self.done and not self.broken and self.heard >= self.received


class Heard(Message, frozen=True, kw_only=True):
    """The playhead: how much of which item was given to the device."""

    generation: Count
    session: Count
    playing: bool
    items: Annotated[list[HeardItem], Meta(max_length=64)]  # the last ones, in playing order


class FlushReport(Message, frozen=True, kw_only=True):
    """What a flush ended, hop by hop. Published once for each."""

    generation: Count
    session: Count
    cause: Name  # the flush's, or "lost flush" where newer audio came without one
    event_ns: Count  # the server's event at link
    flush_ns: Count  # flush published
    received_ns: Count  # flush received by playback
    silent_ns: Count  # when the device was given the first silence
    latency_ns: Count  # the device's own delay, after which that silence is audible
    items: Annotated[list[HeardItem], Meta(max_length=64)]  # cut or never begun, in playing order
    onset_ns: Count = 0  # when the person began to speak, as heard here; 0: not heard here
    ducked_ns: Count = 0  # when the device was given the first lowered sample; 0: none was


class SpeakerFrame(Message, frozen=True, kw_only=True):
    """What the device was given, silence included, mono s16le at 24 kHz in the payload."""

    payload_limit: ClassVar[int] = MAX_AUDIO
    payload_unit: ClassVar[int] = 2
    stream: Count  # the device's opening, as in MicFrame
    position: Count  # samples since the opening, of the first sample here
    played_ns: Count  # when the first sample is at the converter


class Report(msgspec.Struct, frozen=True):
    """What the server was told about one item of an interrupted reply."""

    item_id: Name
    content_index: Count
    heard_ms: Count
    received_ms: Count
    action: Literal["truncate", "delete", "none"]
    audio_end_ms: Count  # with "truncate"
    heard_text: Text = ""  # what was heard, in words, as near as the transcript tells


class Interruption(Message, frozen=True, kw_only=True):
    """The record of one interruption: when each hop happened, what was heard, what was said."""

    generation: Count
    session: Count
    cause: Name
    event_ns: Count
    flush_ns: Count
    received_ns: Count
    silent_ns: Count
    latency_ns: Count
    reports: Annotated[list[Report], Meta(max_length=64)]
    cancelled: Annotated[list[Name], Meta(max_length=64)]  # responses cancelled by id
    onset_ns: Count = 0
    ducked_ns: Count = 0


class Health(Message, frozen=True, kw_only=True):
    """A stage's own account of itself, from its work loop."""

    pid: Count
    ok: bool
    state: Line
    counters: dict[Name, Count]


M = TypeVar("M", bound=Message)

#: Fields in ns that are lengths. All others in ns are moments of the publisher's CLOCK_MONOTONIC, 0
#: for none, and a reader on another machine has them translated.
DURATIONS = frozenset({"latency_ns"})


@functools.cache
def moments(kind: type[Message]) -> tuple[str, ...]:
    """Give the names of a message's fields that are moments."""
    return tuple(f for f in kind.__struct_fields__ if f.endswith("_ns") and f not in DURATIONS)


_encoded = msgspec.msgpack.Encoder().encode


class _Form(NamedTuple):
    """What a type's header looks like as we write it."""

    names: tuple[str, ...]  # of the message's own fields
    header: type[msgspec.Struct]  # v, the stamp's fields and these, in this order
    decode: Callable[[bytes], msgspec.Struct]  # reads one with all of these and no others


_FORMS: dict[type[Message], _Form] = {}


def _form(kind: type[Message]) -> _Form:
    found = _FORMS.get(kind)
    if found is None:
        names = tuple(name for name in kind.__struct_fields__ if name != "payload")
        stamp = get_type_hints(Stamp, include_extras=True)
        hints = get_type_hints(kind, include_extras=True)
        fields = [("v", Literal[2]), *stamp.items(), *((name, hints[name]) for name in names)]
        header = msgspec.defstruct("Header", fields, forbid_unknown_fields=True, gc=False)
        assert kind.__struct_fields__ == ("payload", *names)
        found = _FORMS[kind] = _Form(names, header, msgspec.msgpack.Decoder(header).decode)
    return found


def prepare(kind: type[Message]) -> None:
    """Do once what the first message of a type would take a ms for."""
    _form(kind)


def encode(message: Message, stamp: Stamp) -> tuple[bytes, bytes]:
    """Give the header and the payload of a message."""
    _, *own = astuple(message)  # all but the payload
    header = _form(type(message)).header(VERSION, stamp.seq, stamp.epoch, stamp.t, *own)
    return _encoded(header), message.payload


def write_turns(turns: Sequence[Turn]) -> bytes:
    """Give the payload of a History."""
    return msgspec.json.encode(turns)


def read_turns(payload: bytes) -> list[Turn]:
    """Read the payload of a History or a HistoryMirror; "" is an empty one. Raises BadMessage."""
    try:
        return msgspec.json.decode(payload or b"[]", type=list[Turn])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not a history: {str(error)[:200]}") from None


def _unique(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadMessage("a key twice in the header")
    return found


def decode(kind: type[M], header: bytes, payload: bytes) -> tuple[M, Stamp]:
    """Read a message of ``kind``.

    Raises BadMessage, with the reason, for bytes that are not one: another version, a field that is
    missing or of the wrong type, a header or payload over its limit.
    """
    if len(header) > MAX_HEADER:
        raise BadMessage(f"header of {len(header)} bytes, at most {MAX_HEADER} allowed")
    if len(payload) > kind.payload_limit:
        raise BadMessage(f"payload of {len(payload)} bytes, at most {kind.payload_limit} allowed")
    if len(payload) % kind.payload_unit:
        raise BadMessage(f"payload of {len(payload)} bytes, the last sample is cut in half")
    form = _form(kind)
    try:
        read = form.decode(header)
        # to the byte what we write ourselves: no key is there twice, and nothing is missing
        ours = _encoded(read) == header
    except (msgspec.MsgspecError, ValueError, RecursionError):
        ours = False  # the closer look tells what is wrong with it
    if ours:
        _, seq, epoch, t, *own = astuple(read)
        return kind(payload=payload, **dict(zip(form.names, own, strict=True))), Stamp(
            seq, epoch, t
        )
    return _looked_at(kind, header, payload)


def _looked_at(kind: type[M], header: bytes, payload: bytes) -> tuple[M, Stamp]:
    """Read what another program may have written: fields left out, or more of them."""
    try:
        fields = msgpack.unpackb(header, object_pairs_hook=_unique, strict_map_key=True)
    except BadMessage:
        raise
    except Exception as error:  # noqa: BLE001
        # msgpack raises ValueError, UnicodeDecodeError, its own ExtraData, StackError and more
        raise BadMessage(f"header is not one msgpack map ({type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise BadMessage("header is not one msgpack map")
    version = fields.get("v")
    # nor 2.0, which Python takes for 2
    if type(version) is not int or version != VERSION:
        found = f"{version!r:.20}" if isinstance(version, (int, float, str)) else "unknown"
        raise BadMessage(f"bus version {found}, this is version {VERSION}")
    try:
        stamp = msgspec.convert(fields, Stamp)
        fields["payload"] = payload
        message = msgspec.convert(fields, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        said = str(error)
        # it can quote a long value, and ends with the field's name
        raise BadMessage(said if len(said) <= 200 else f"{said[:97]} … {said[-100:]}") from None
    return message, stamp
