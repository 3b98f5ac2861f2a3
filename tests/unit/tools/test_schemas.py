"""The schemas of functions, in the form that the API takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tools.schemas import for_api

pytestmark = pytest.mark.unit

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "taken"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"type": "string"}, {"type": "object", "properties": {}}),
        (
            {"type": ["object", "null"], "properties": {"a": TEXT}},
            {"type": "object", "properties": {"a": TEXT}},
        ),
        (
            {"$ref": "#/$defs/Args", "$defs": {"Args": {"properties": {"a": TEXT}}}},
            {"type": "object", "properties": {"a": TEXT}},
        ),
        (
            {
                "anyOf": [
                    {"properties": {"a": TEXT, "b": TEXT}, "required": ["a", "b"]},
                    {"properties": {"a": NUMBER}, "required": ["a"]},
                ]
            },
            {
                "type": "object",
                "properties": {"a": {"anyOf": [TEXT, NUMBER]}, "b": TEXT},
                "required": ["a"],
            },
        ),
        (
            {
                "properties": {"c": TEXT},
                "required": ["c"],
                "allOf": [{"properties": {"a": TEXT}, "required": ["a"]}],
            },
            {"type": "object", "properties": {"c": TEXT, "a": TEXT}, "required": ["c", "a"]},
        ),
        (
            {"properties": {"names": {"type": "array"}, "all": {"type": ["array", "null"]}}},
            {
                "type": "object",
                "properties": {
                    "names": {"type": "array", "items": {}},
                    "all": {"type": ["array", "null"], "items": {}},
                },
            },
        ),
    ],
)
def test_a_schema_that_the_api_refuses_is_replaced(
    schema: dict[str, Any], taken: dict[str, Any]
) -> None:
    assert for_api(schema) == taken


def test_a_good_schema_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "word": {"type": "string", "description": "what to look up", "enum": ["a", "b"]},
            "many": {"type": "array", "items": {"anyOf": [TEXT, {"type": "null"}]}},
        },
        "required": ["word"],
        "additionalProperties": False,
    }
    assert for_api(schema) == schema


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}
    assert "$ref" not in str(for_api({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}))
    assert for_api({"$ref": "#"}) == {"type": "object", "properties": {}}
    assert for_api({"properties": {"a": {"$ref": "http://x/y"}}})["properties"] == {"a": {}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "anyOf", "allOf", "items", "$ref", "$defs", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "anyOf", "$ref", "$defs"]), JSON))
def test_any_schema_becomes_an_object(schema: dict[str, Any]) -> None:
    made = for_api(schema)
    assert made["type"] == "object"
    assert isinstance(made["properties"], dict)
    assert not made.keys() & {"anyOf", "oneOf", "allOf", "enum", "not", "$ref"}
