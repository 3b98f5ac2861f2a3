"""Messages as bytes: encode and decode, with a limit for everything that is read.

A message travels as three frames, ``[topic, header, payload]``. The header is one msgpack map with
``v`` (the version of the bus), the fields of ``Stamp`` and the message's own fields. The payload is
raw: PCM or JSON text, never inside the map.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any, TypeVar, get_type_hints

import msgpack
import msgspec
from msgspec.structs import astuple

from shared.messages import HistoryTurn, Message, Stamp, ToolOutput

#: The version of the bus: a reader refuses every other one.
VERSION = 3
#: The longest header, bytes: a transcript with every field at its limit fits.
MAX_HEADER = 1024 * 1024
#: The longest error text: it is shown as one line of the log.
MAX_ERROR = 200

M = TypeVar("M", bound=Message)


class BadMessage(ValueError):
    """Raised when bytes from the bus are not a message of the topic that they came under."""


_encode = msgspec.msgpack.Encoder().encode


@functools.cache
def _header(kind: type[Message]) -> type[msgspec.Struct]:
    """Return the type of a message's header: ``v``, the stamp's fields, the message's own."""
    own = get_type_hints(kind, include_extras=True)
    # encode() relies on the payload being the first field.
    first, *names = kind.__struct_fields__
    assert first == "payload"
    fields = [
        ("v", int),
        *get_type_hints(Stamp, include_extras=True).items(),
        *((name, own[name]) for name in names),
    ]
    return msgspec.defstruct("Header", fields, gc=False)


def encode(message: Message, stamp: Stamp) -> tuple[bytes, bytes]:
    """Return the header and the payload of a message."""
    _, *own = astuple(message)
    header = _header(type(message))(VERSION, stamp.seq, stamp.epoch, stamp.t, *own)
    return _encode(header), message.payload


def decode(kind: type[M], header: bytes, payload: bytes) -> tuple[M, Stamp]:
    """Return a message of type ``kind`` and its stamp, read from a header and a payload.

    A missing field gets its default. A missing field without a default is an error. Fields that
    ``kind`` does not have are ignored. A whole number may be written as a float, as some languages
    do.

    Raises BadMessage, with the reason, for a message of another bus version, a missing field
    that has no default, a field of the wrong type, and a header or payload over its limit.
    """
    if len(header) > MAX_HEADER:
        raise BadMessage(f"header of {len(header)} bytes, at most {MAX_HEADER} allowed")
    if len(payload) > kind.payload_limit:
        raise BadMessage(f"payload of {len(payload)} bytes, at most {kind.payload_limit} allowed")
    if len(payload) % kind.payload_unit:
        raise BadMessage(f"payload of {len(payload)} bytes, the last sample is cut in half")
    fields = _unpack(header)
    version = fields.get("v")
    # True == 1 in Python, so the type counts as well.
    if type(version) not in (int, float) or version != VERSION:
        found = f"{version!r:.20}" if isinstance(version, (int, float, str)) else "unknown"
        raise BadMessage(f"bus version {found}, this is version {VERSION}")
    try:
        return _convert(kind, fields, payload)
    except BadMessage:
        # A program that writes whole numbers as floats is rare, so its messages take the long way.
        return _convert(kind, _whole(fields), payload)


def _unpack(header: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(header, object_pairs_hook=_unique, strict_map_key=True)
    except BadMessage:
        raise
    except Exception as error:  # noqa: BLE001
        # msgpack raises ValueError, UnicodeDecodeError, its own ExtraData, StackError and more.
        raise BadMessage(f"header is not one msgpack map ({type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise BadMessage("header is not one msgpack map")
    return fields


def _unique(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadMessage("a key twice in the header")
    return found


#: The types whose fields msgspec has read. msgspec reads them at the first use of a type. A second
#: thread that used the type meanwhile ended the process with a segmentation fault.
_prepared: set[type[msgspec.Struct]] = set()
_preparing = threading.Lock()


def _prepare(kind: type[msgspec.Struct]) -> None:
    with _preparing:
        msgspec.msgpack.Decoder(kind)
        _prepared.add(kind)


_prepare(Stamp)


def _convert(kind: type[M], fields: dict[str, Any], payload: bytes) -> tuple[M, Stamp]:
    if kind not in _prepared:
        _prepare(kind)
    try:
        stamp = msgspec.convert(fields, Stamp)
        fields["payload"] = payload
        return msgspec.convert(fields, kind), stamp
    except (msgspec.ValidationError, RecursionError) as error:
        said = str(error)
        # The text can quote a long value, and ends with the field's name.
        raise BadMessage(
            said if len(said) <= MAX_ERROR else f"{said[:97]} … {said[-100:]}"
        ) from None


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(each) for each in value]
        case dict():
            return {key: _whole(each) for key, each in value.items()}
    return value


def write_turns(turns: Sequence[HistoryTurn]) -> bytes:
    """Return the payload of a History."""
    return msgspec.json.encode(turns)


def read_turns(payload: bytes) -> list[HistoryTurn]:
    """Return the turns in the payload of a History. No bytes: no turns.

    Raises BadMessage.
    """
    try:
        return msgspec.json.decode(payload or b"[]", type=list[HistoryTurn])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not a history: {str(error)[:MAX_ERROR]}") from None


def read_offer(payload: bytes) -> list[dict[str, Any]]:
    """Return the functions in the payload of a ToolOffer. No bytes: none. Raises BadMessage."""
    try:
        return msgspec.json.decode(payload or b"[]", type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"no list of functions: {str(error)[:MAX_ERROR]}") from None


def write_output(output: ToolOutput) -> bytes:
    """Return the payload of a ToolResult."""
    return msgspec.json.encode(output)


def read_output(payload: bytes) -> ToolOutput:
    """Return the output in the payload of a ToolResult. Raises BadMessage."""
    try:
        return msgspec.json.decode(payload or b"{}", type=ToolOutput)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not an output: {str(error)[:MAX_ERROR]}") from None
