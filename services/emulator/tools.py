"""The choice of the function that a response calls, and of its arguments.

The emulator has no model that could decide this. It follows fixed rules, so that a test can predict
the calls:

- With ``tool_choice`` "none" it calls nothing; with "required" it calls the first function; with a
  named function it calls that function; with a named MCP server, the first function of that server.
- With "auto" it calls the function whose name appears in the last user text without an answer, or
  in the instructions of this ``response.create``. A spoken turn has no text; ``--call-every N``
  answers every Nth spoken turn with a call, taking the functions in turn.
- After a function's output the emulator answers. It calls another function only if the
  ``response.create`` itself has a ``tool_choice`` that asks for it.

The arguments satisfy the schema's required properties: ``default`` or ``const``, else the first of
``enum`` or ``examples``, else a simple value of the type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from services.emulator.schema import Refused

#: Below this depth of nesting, objects stay empty: a schema may refer to itself.
_DEPTH = 8


def choose(
    tools: Sequence[dict[str, Any]],
    tool_choice: str | dict[str, Any],
    said: str,
    due: int | None = None,
) -> dict[str, Any] | None:
    """Return the function to call, or None if the response is an answer.

    ``said`` is the text in which a function's name may appear. ``due`` is a number if a call is due
    whatever was said: this many such calls came before. Raises Refused if the chosen function is
    not among the tools.
    """
    if tool_choice == "none":
        return None
    if isinstance(tool_choice, dict):
        wanted = [(key, value) for key, value in tool_choice.items() if value is not None]
        for tool in tools:
            if all(tool.get(key) == value for key, value in wanted):
                return tool
        name = tool_choice.get("name") or tool_choice["server_label"]
        raise Refused(
            "invalid_value",
            f"Tool choice '{name}' not found in 'tools' parameter.",
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
    """Return a value that satisfies a JSON Schema, if the schema uses the common keywords only."""
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
