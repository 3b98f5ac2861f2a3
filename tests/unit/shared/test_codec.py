"""The codec encodes messages as bytes, decodes them, and refuses bytes that are no message."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgpack import fallback
from msgspec import inspect

from shared import codec, messages
from tests.support.headers import KINDS, every_kind, header, info, least

pytestmark = pytest.mark.unit
AUDIO = {messages.MicFrame, messages.MicClean, messages.ReplyAudio, messages.SpeakerFrame}
STAMP = messages.Stamp(seq=7, epoch=1_700_000_000_000_000, t=123_456_789)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field's type, within its limits."""
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            edges = st.sampled_from([value for value in (least, most) if value is not None])
            return edges | st.integers(least, most)
        case inspect.StrType(max_length=most):
            return st.text(max_size=min(most or 40, 40))
        case inspect.LiteralType(values=names):
            return st.sampled_from(names)
        case inspect.ListType(item_type=item):
            return st.lists(values(item), max_size=3)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=3)
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
    raise AssertionError(f"no field is of type {kind}")


def any_of(kind: type[messages.Message]) -> st.SearchStrategy[messages.Message]:
    """Return a strategy for the messages of a type, within their limits."""
    unit, most = kind.payload_unit, min(kind.payload_limit, 64)
    payload = st.integers(0, most // unit).flatmap(
        lambda units: st.binary(min_size=units * unit, max_size=units * unit)
    )
    fields = {f.name: values(f.type) for f in info(kind).fields if f.name != "payload"}
    return st.builds(kind, payload=payload, **fields)


def most(kind: inspect.Type) -> Any:
    """Return the value of a field's type that takes the most bytes."""
    match kind:
        case inspect.BoolType():
            return True
        case inspect.IntType(le=limit):
            assert limit is not None, "a number without a limit"
            return limit
        case inspect.StrType(max_length=limit):
            assert limit is not None, "a text without a limit"
            return "\U0001f600" * limit
        case inspect.LiteralType(values=names):
            return max(map(str, names), key=len)
        case inspect.ListType(item_type=item, max_length=limit):
            assert limit is not None, "a list without a limit"
            return [most(item)] * limit
        case inspect.DictType(key_type=key, value_type=value, max_length=limit):
            # Only Health has maps without a limit, with a few dozen counters or topics each.
            return {f"{n:03d}{most(key)[3:]}": most(value) for n in range(limit or 100)}
        case inspect.StructType(cls=cls, fields=fields):
            return cls(**{field.name: most(field.type) for field in fields})
    raise AssertionError(f"no field is of type {kind}")


def read(
    kind: type[messages.Message], fields: dict[Any, Any], payload: bytes = b""
) -> messages.Message:
    message, _ = codec.decode(kind, msgpack.packb(fields), payload)
    return message


def refused(kind: type[messages.Message], fields: dict[Any, Any], match: str | None = None) -> None:
    with pytest.raises(codec.BadMessage, match=match) as caught:
        read(kind, fields)
    # The error is shown as one line.
    assert len(str(caught.value)) <= 200
    assert str(caught.value).isprintable()


def test_there_are_messages_of_both_sorts() -> None:
    assert len(KINDS) > 10
    assert {kind for kind in KINDS if kind.payload_unit == 2} == AUDIO


@every_kind
@settings(max_examples=20)
@given(data=st.data())
def test_encode_and_decode_are_inverses(kind: type[messages.Message], data: st.DataObject) -> None:
    message = data.draw(any_of(kind))
    stamp = data.draw(values(info(messages.Stamp)))
    frames = codec.encode(message, stamp)
    assert codec.decode(kind, *frames) == (message, stamp)
    assert codec.encode(*codec.decode(kind, *frames)) == frames


@every_kind
def test_the_header_is_one_map_without_the_payload(kind: type[messages.Message]) -> None:
    message = read(kind, header(kind))
    found = msgpack.unpackb(codec.encode(message, STAMP)[0])
    assert found == {
        **header(kind),
        "v": codec.VERSION,
        "seq": STAMP.seq,
        "epoch": STAMP.epoch,
        "t": STAMP.t,
    }


# limits


@every_kind
def test_a_message_with_every_field_at_its_limit_is_read(kind: type[messages.Message]) -> None:
    fields = {f.name: most(f.type) for f in info(kind).fields if f.name != "payload"}
    if kind is messages.Interruption:
        # Only one item has the longest text: if every item had it, the header would exceed its own
        # limit. A real reply is much shorter.
        first, *others = fields["reports"]
        fields["reports"] = [first, *(msgspec.structs.replace(o, heard_text="") for o in others)]
    message = kind(payload=bytes(kind.payload_limit), **fields)
    assert codec.decode(kind, *codec.encode(message, STAMP)) == (message, STAMP)


@every_kind
def test_a_payload_over_its_limit_is_refused(kind: type[messages.Message]) -> None:
    payload = bytes(kind.payload_limit + kind.payload_unit)
    with pytest.raises(codec.BadMessage, match=f"at most {kind.payload_limit} allowed"):
        read(kind, header(kind), payload)


@pytest.mark.parametrize("kind", sorted(AUDIO, key=str), ids=lambda kind: kind.__name__)
def test_half_a_sample_is_refused(kind: type[messages.Message]) -> None:
    assert read(kind, header(kind), b"ab").payload == b"ab"
    with pytest.raises(codec.BadMessage, match="cut in half"):
        read(kind, header(kind), b"abc")


#: What ``header(messages.Control)`` says.
READ = messages.Control(command="approve", text="a", id="a")


def test_a_header_over_its_limit_is_refused_unread() -> None:
    fields = header(messages.Control, more="x" * (codec.MAX_HEADER - 100))
    assert read(messages.Control, fields) == READ
    fields["more"] += "x" * 100
    refused(messages.Control, fields, f"at most {codec.MAX_HEADER} allowed")


def over(kind: inspect.Type) -> Iterator[Any]:
    """Yield values just outside a type's limits."""
    match kind:
        case inspect.IntType(ge=bottom, le=top):
            assert bottom is not None
            assert top is not None
            yield from (bottom - 1, top + 1)
        case inspect.StrType(max_length=limit):
            assert limit is not None
            yield "a" * (limit + 1)
        case inspect.ListType(item_type=item, max_length=limit):
            assert limit is not None
            yield [least(item)] * (limit + 1)
            yield from ([value] for value in over(item))
        case inspect.DictType(key_type=key, value_type=value):
            yield from ({wrong: 1} for wrong in over(key))
            yield from ({"a": wrong} for wrong in over(value))
        case inspect.StructType(fields=fields, array_like=array):
            good = {field.name: least(field.type) for field in fields}
            for field in fields:
                for value in over(field.type):
                    bad = good | {field.name: value}
                    yield list(bad.values()) if array else bad


@every_kind
def test_a_field_outside_its_limits_is_refused(kind: type[messages.Message]) -> None:
    tried = 0
    for field in info(kind).fields:
        for value in over(field.type) if field.name != "payload" else ():
            refused(kind, header(kind, **{field.name: value}), "Expected")
            tried += 1
    assert tried


# wrong bytes

WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    1.0,
    0.5,
    math.nan,
    math.inf,
    "0",
    "nonsense",
    "a\nb" * 1000,
    b"a",
    [],
    [1],
    [[]],
    {},
    {"a": "b"},
    {"a": True},
    {"a": math.nan},
    msgpack.ExtType(5, b"a"),
    msgpack.Timestamp(1, 1),
)


def same(kind: inspect.Type, value: Any) -> bool:
    """Return whether a value is accepted for a field's type.

    An integer field accepts a whole-number float, but neither True nor False.
    """
    match kind:
        case inspect.BoolType():
            return type(value) is bool
        case inspect.IntType():
            whole = type(value) is int or (type(value) is float and value.is_integer())
            return whole and 0 <= value < 2**63
        case inspect.StrType():
            return type(value) is str
        case inspect.LiteralType(values=names):
            return type(value) is str and value in names
        case inspect.ListType(item_type=item):
            return type(value) is list and all(same(item, each) for each in value)
        case inspect.DictType(value_type=each):
            return type(value) is dict and all(same(each, v) for v in value.values())
        case inspect.StructType(fields=fields):
            return type(value) is dict and all(
                same(field.type, value[field.encode_name])
                if field.encode_name in value
                else not field.required
                for field in fields
            )
    return False


@every_kind
def test_a_field_of_the_wrong_type_is_refused(kind: type[messages.Message]) -> None:
    stamps = {field.name: field.type for field in info(messages.Stamp).fields}
    fields = {f.name: f.type for f in info(kind).fields if f.name != "payload"}
    for name, kind_of in (stamps | fields).items():
        wrong = [value for value in WRONG if not same(kind_of, value)]
        assert len(wrong) >= len(WRONG) - 5
        for value in wrong:
            refused(kind, header(kind, **{name: value}), name)


@every_kind
def test_a_missing_field_is_refused_unless_it_has_a_default(kind: type[messages.Message]) -> None:
    for name in ("seq", "epoch", "t"):
        refused(kind, header(kind, **{name: ...}), f"missing required field `{name}`")
    for field in info(kind).fields:
        if field.required:
            without = header(kind, **{field.name: ...})
            refused(kind, without, f"missing required field `{field.name}`")
        elif field.name != "payload":
            found = getattr(read(kind, header(kind, **{field.name: ...})), field.name)
            default = field.default
            assert found == (field.default_factory() if default is msgspec.NODEFAULT else default)


@pytest.mark.parametrize(
    "version", [..., None, 0, 1, 2, 4, -1, True, 3.5, "3", "\n" * 999, b"3", [1], {"v": 1}]
)
def test_another_version_is_refused(version: Any) -> None:
    refused(messages.Control, header(messages.Control, v=version), "this is version 3")


def test_a_version_of_a_thousand_brackets_is_refused() -> None:
    for depth in (100, 1000, 1020, 100_000):
        with pytest.raises(codec.BadMessage):
            codec.decode(messages.Control, b"\x81\xa1v" + b"\x91" * depth + b"\x01", b"")


def test_a_field_that_this_version_does_not_know_is_passed_over() -> None:
    more = {"more": math.nan, "yet_more": msgpack.ExtType(1, b"")}
    assert read(messages.Control, header(messages.Control, **more)) == READ


def test_a_payload_in_the_header_is_not_the_payload() -> None:
    fields = header(messages.MicFrame, payload=b"from the header")
    assert read(messages.MicFrame, fields, b"ab").payload == b"ab"


UNPACKERS: tuple[Callable[..., Any], ...] = (msgpack.unpackb, fallback.unpackb)


@pytest.fixture(params=UNPACKERS, ids=["msgpack's C", "msgpack's Python"])
def _unpacker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.codec.msgpack.unpackb", request.param)


@pytest.mark.usefixtures("_unpacker")
def test_a_key_that_comes_twice_is_refused() -> None:
    fields = header(messages.Control)
    assert read(messages.Control, fields) == READ
    packed = msgpack.Packer().pack_map_pairs([*fields.items(), ("seq", 9)])
    with pytest.raises(codec.BadMessage, match="twice"):
        codec.decode(messages.Control, packed, b"")


def test_a_key_that_comes_twice_further_down_is_refused() -> None:
    twice = msgpack.Packer().pack_map_pairs([("a", 1), ("a", 1)])
    packed = msgpack.packb(header(messages.Health, counters={})).replace(
        b"counters\x80", b"counters" + twice
    )
    with pytest.raises(codec.BadMessage, match="twice"):
        codec.decode(messages.Health, packed, b"")


def floating(value: Any) -> Any:
    """Return a value with each integer in it as a float, as some languages send integers."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [floating(each) for each in value]
        case dict():
            return {key: floating(each) for key, each in value.items()}
    return value


@every_kind
def test_a_whole_number_may_be_a_float(kind: type[messages.Message]) -> None:
    fields = header(kind, epoch=1_700_000_000_000_000, t=2**53)
    found = codec.decode(kind, msgpack.packb(floating(fields)), b"")
    assert found == codec.decode(kind, msgpack.packb(fields), b"")
    # Both decode to integers. Equality does not show this, because 1 == 1.0, but the bytes do.
    assert codec.encode(*found) == codec.encode(*codec.decode(kind, msgpack.packb(fields), b""))


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0**63, 2.0**64, 1e300, math.nan, math.inf])
def test_another_float_is_refused(value: float) -> None:
    refused(messages.Renew, header(messages.Renew, session=value), "session")


GOOD = msgpack.packb(header(messages.Control))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",  # the only byte that msgpack never uses
        b"\x81\xa1v",
        GOOD[:-1],
        GOOD + b"\x01",
        GOOD + GOOD,
        msgpack.packb(None),
        msgpack.packb(1),
        msgpack.packb([1, 2]),
        msgpack.packb({1: 2}),
        msgpack.packb({None: 2}),
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 100_000,
        struct.pack(">BI", 0xDF, 2**32 - 1),  # a map of 2^32 - 1 entries, without the entries
        struct.pack(">BI", 0xDD, 2**32 - 1),
        struct.pack(">BI", 0xC6, 2**32 - 1),
        b"\x81\xa1v\xa2\xff\xfe",  # not UTF-8
        b'{"v": 3}',
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=lambda packed: repr(packed[:12]),
)
def test_bytes_that_are_no_header_are_refused(packed: bytes) -> None:
    with pytest.raises(codec.BadMessage) as caught:
        codec.decode(messages.Control, packed, b"")
    assert str(caught.value).isprintable()


def test_bytes_for_a_key_are_refused() -> None:
    refused(messages.Control, header(messages.Control) | {b"seq": 1})
