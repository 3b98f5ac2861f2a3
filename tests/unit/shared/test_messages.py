"""The types of the messages: what holds for all of them."""

from __future__ import annotations

import ast
import inspect as source
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import inspect

from shared import messages
from tests.support.headers import KINDS, info

pytestmark = pytest.mark.unit


def floats(kind: inspect.Type, path: str) -> Iterator[str]:
    """Yield where a type holds floats, or anything that may be one."""
    match kind:
        case inspect.FloatType() | inspect.AnyType() | inspect.UnionType() | inspect.DecimalType():
            yield path
        case inspect.ListType(item_type=item):
            yield from floats(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=value):
            yield from floats(key, f"{path}{{}}")
            yield from floats(value, f"{path}{{}}")
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from floats(field.type, f"{path}.{field.name}")


@pytest.mark.parametrize("kind", [*KINDS, messages.Stamp], ids=lambda kind: kind.__name__)
def test_no_field_is_a_float(kind: type[msgspec.Struct]) -> None:
    assert list(floats(info(kind), kind.__name__)) == []


def undocumented(text: str) -> list[str]:
    """Return the fields in a module's classes that have no text below them."""
    return [
        f"{each.name}.{ast.unparse(field.target)}"
        for each in ast.parse(text).body
        if isinstance(each, ast.ClassDef)
        for field, below in zip(each.body, [*each.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and ast.unparse(field.target) not in ("payload_limit", "payload_unit")
        and not (
            isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        )
    ]


def test_every_field_says_what_it_means() -> None:
    assert undocumented(source.getsource(messages)) == []


def test_a_field_that_does_not_say_so_is_found() -> None:
    text = "class A:\n    good: int\n    '''Good.'''\n    bad: int\n    worse: int = 1"
    assert undocumented(text) == ["A.bad", "A.worse"]


def test_an_item_is_whole_if_it_is_done_and_all_of_it_was_heard() -> None:
    whole = messages.HeardItem("item", 0, heard=480, received=480, done=True)
    assert whole.whole
    assert not msgspec.structs.replace(whole, done=False).whole
    assert not msgspec.structs.replace(whole, heard=479).whole
