"""Which function a response calls, and that the arguments satisfy the function's schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.emulator.schema import Refused
from services.emulator.tools import choose, example
from tests.support.emulator import patiently

ROLL = {"type": "function", "name": "roll_dice"}
TIME = {"type": "function", "name": "time"}


def test_none_never_calls_and_required_calls_the_first() -> None:
    assert choose([ROLL, TIME], "none", "roll_dice") is None
    assert choose([ROLL, TIME], "required", "") is ROLL
    assert choose([ROLL, TIME], {"type": "function", "name": "time"}, "") is TIME


def test_auto_calls_what_is_named_as_a_word() -> None:
    assert choose([ROLL, TIME], "auto", "please roll_dice, twice") is ROLL
    assert choose([ROLL, TIME], "auto", "sometimes") is None
    assert choose([ROLL, TIME], "auto", "what time is it") is TIME
    assert choose([ROLL, TIME], "auto", "", due=3) is TIME
    assert choose([], "auto", "time", due=3) is None


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(Refused, match="'sing' not found"):
        choose([ROLL], {"type": "function", "name": "sing"}, "")
    with pytest.raises(Refused, match="'required' must be specified with"):
        choose([], "required", "")


SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["string", "boolean", "null"])}),
        st.fixed_dictionaries({"type": st.just("string"), "minLength": st.integers(0, 30)}),
        st.fixed_dictionaries({"enum": st.lists(st.integers() | st.text(), min_size=1)}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number"]), "minimum": st.integers(-5, 5)}
        ),
        st.fixed_dictionaries({"type": st.just("integer"), "maximum": st.integers(-5, 5)}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner, "minItems": st.integers(0, 3)}
        ),
        st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": list(p)[:2]}
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda any_of: {"anyOf": any_of}),
    ),
    max_leaves=8,
)


def satisfies(value: Any, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(satisfies(value, option) for option in schema["anyOf"])
    match schema["type"]:
        case "string":
            return isinstance(value, str) and len(value) >= schema.get("minLength", 0)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer" | "number":
            low, high = schema.get("minimum", value), schema.get("maximum", value)
            return isinstance(value, int) and low <= value <= high
        case "array":
            enough = isinstance(value, list) and len(value) >= schema["minItems"]
            return enough and all(satisfies(element, schema["items"]) for element in value)
        case _:
            return isinstance(value, dict) and all(
                name in value and satisfies(value[name], schema["properties"][name])
                for name in schema["required"]
            )


@patiently
@given(SCHEMAS)
def test_an_example_satisfies_its_schema(schema: dict[str, Any]) -> None:
    assert satisfies(example(schema), schema)


def test_references_defaults_and_circles() -> None:
    schema = {
        "type": "object",
        "properties": {
            "where": {"$ref": "#/$defs/place"},
            "unit": {"type": "string", "default": "km"},
        },
        "required": ["where", "unit", "undeclared"],
        "$defs": {"place": {"type": "string", "examples": ["Ouessant"]}},
    }
    assert example(schema) == {"where": "Ouessant", "unit": "km", "undeclared": "example"}
    circle = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert isinstance(example(circle), dict)
    assert example({}) == "example"
    assert example({"type": "object"}) == {}
    assert example({"$ref": "#/nowhere"}) == "example"
