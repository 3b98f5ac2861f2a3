"""All types of messages, and headers with changed or missing fields."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import inspect

from shared import codec, messages

KINDS = messages.kinds()
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def info(kind: type[msgspec.Struct]) -> inspect.StructType:
    """Return msgspec's description of a struct's fields."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return found


def least(kind: inspect.Type) -> Any:
    """Return a small value of a field's type."""
    match kind:
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return 1
        case inspect.StrType():
            return "a"
        case inspect.LiteralType(values=names):
            return names[0]
        case inspect.ListType(item_type=item):
            return [least(item)]
        case inspect.DictType(value_type=value):
            return {"a": least(value)}
        case inspect.StructType(fields=fields, array_like=array):
            pairs = {field.name: least(field.type) for field in fields}
            return list(pairs.values()) if array else pairs
    raise AssertionError(f"no field is of type {kind}")


def header(kind: type[messages.Message], **changed: Any) -> dict[str, Any]:
    """Return the header of a small message with some fields changed, or left out if ``...``."""
    fields = {f.name: least(f.type) for f in info(kind).fields if f.name != "payload"}
    made = {"v": codec.VERSION, "seq": 1, "epoch": 2, "t": 3, **fields, **changed}
    return {name: value for name, value in made.items() if value is not ...}
