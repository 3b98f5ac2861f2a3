"""When a function is called, and with which arguments.

There is no model here that could judge; the rule is fixed, so that a test or a demonstration knows:

- ``tool_choice`` "none": never. "required": the first function. A named function: that one.
- "auto": the function whose name stands in the latest user text that has not been answered, or in
  the instructions of this ``response.create``. A spoken turn names nothing; ``--call-every N``
  answers every Nth one with the functions in turn.
- A function's output is answered, not called upon: only the ``tool_choice`` of the very
  ``response.create`` makes another call of it.

Arguments are made to satisfy the schema's required properties: ``default``, ``const``, the first of
``enum`` or ``examples``, else the plainest value of the type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from services.emulator.schema import Refused

#: A schema may refer to itself; deeper than this, objects stay empty.
_DEPTH = 8


def choose(
    tools: Sequence[dict[str, Any]],
    tool_choice: str | dict[str, Any],
    said: str,
    due: int | None = None,
) -> dict[str, Any] | None:
    """Give the function to call, or None to answer instead.

    ``said``: the text in which a name counts. ``due``: a call is due whatever was said, the nth.
    Raises Refused if a function is chosen that is not among the tools.
    """
    if tool_choice == "none":
        return None
    if isinstance(tool_choice, dict):
        for tool in tools:
            if tool["name"] == tool_choice["name"]:
                return tool
        raise Refused(
            "invalid_value",
            f"Tool choice '{tool_choice['name']}' not found in 'tools' parameter.",
            "tool_choice",
        )
    if not tools:
        if tool_choice == "required":
            raise Refused(
                "invalid_value",
                "Tool choice 'required' must be specified with 'tools' parameter.",
                "tool_choice",
            )
        return None
    if tool_choice == "required":
        return tools[0]
    for tool in tools:
        if re.search(rf"\b{re.escape(tool['name'])}\b", said):
            return tool
    return None if due is None else tools[due % len(tools)]


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Give a value that satisfies a JSON Schema, as far as that is plain."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEPTH:
        return {}
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    if isinstance(schema.get("$ref"), str):
        return example(_referred(schema["$ref"], root), root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return example(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    return _plain(kind, schema, root, depth)


def _plain(kind: str, schema: dict[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: example(properties.get(name, {"type": "string"}), root, depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        count = max(int(schema.get("minItems", 1)), 0)
        return [example(schema.get("items", {}), root, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        value = schema.get("minimum", schema.get("exclusiveMinimum"))
        if value is None:
            return min(1, schema.get("maximum", 1))
        return value + 1 if "minimum" not in schema else value
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = "example"
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return (text * (shortest // len(text) + 1))[: max(shortest, min(longest, len(text)))]


def _referred(reference: str, root: Any) -> Any:
    target = root
    for part in reference.lstrip("#/").split("/"):
        if part:
            target = target.get(part, {}) if isinstance(target, dict) else {}
    return target
