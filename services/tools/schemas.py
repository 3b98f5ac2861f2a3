"""JSON Schemas of functions in the form that the API takes. Pure.

The API refuses a whole update of the session because of one schema: if the schema is no object, has
``anyOf`` or a reference at its top, or a list without ``items``. MCP servers and msgspec make such
schemas. Each of these is replaced by something that allows at least as much. The function itself
still checks its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Below this depth a schema allows anything: it may refer to itself.
MAX_DEPTH = 12
#: Keywords that the API refuses at the top of a schema.
_VARIANTS = ("anyOf", "oneOf", "allOf")
_NOT_AT_TOP = (*_VARIANTS, "enum", "const", "not", "if", "then", "else", "$ref", "$defs")
#: Keywords whose value is a schema.
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else")
_DEFINITIONS = ("$defs", "definitions")

Schema = dict[str, Any]


def for_api(schema: Mapping[str, Any]) -> Schema:
    """Return a schema of arguments that the API takes."""
    found = _plain(dict(schema), schema, 0)
    top = found if isinstance(found, dict) else {}
    made = {key: value for key, value in top.items() if key not in _NOT_AT_TOP}
    for keyword in _VARIANTS:
        variants = [each for each in _listed(top.get(keyword)) if isinstance(each, dict)]
        made = _merged(made, variants, every=keyword == "allOf")
    made["type"] = "object"
    made["properties"] = _properties(made)
    if not isinstance(made.get("required", []), list):
        del made["required"]
    return made


def _plain(value: Any, root: Mapping[str, Any], depth: int) -> Any:
    """Return a schema with each reference replaced by the schema that it refers to."""
    if depth > MAX_DEPTH or isinstance(value, bool):
        return {}
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        beside = {key: each for key, each in value.items() if key != "$ref"}
        return _plain({**_referred(value["$ref"], root), **beside}, root, depth + 1)
    made: Schema = {}
    for key, each in value.items():
        if key in _DEFINITIONS:
            continue
        if key in ("properties", "patternProperties") and isinstance(each, dict):
            made[key] = {name: _plain(part, root, depth + 1) for name, part in each.items()}
        elif key in _SCHEMAS and isinstance(each, dict):
            made[key] = _plain(each, root, depth + 1)
        elif key in _VARIANTS:
            made[key] = [_plain(part, root, depth + 1) for part in _listed(each)]
        else:
            made[key] = each
    kinds = made.get("type")
    is_list = kinds == "array" or (isinstance(kinds, list) and "array" in kinds)
    if is_list and not isinstance(made.get("items"), dict):
        made["items"] = {}
    return made


def _referred(reference: str, root: Mapping[str, Any]) -> Schema:
    """Return the part of the schema that a reference refers to; {} if there is no such part."""
    target: Any = root
    if not reference.startswith("#"):
        return {}
    for part in reference.removeprefix("#").split("/"):
        if part:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) else None
    return dict(target) if isinstance(target, Mapping) else {}


def _merged(schema: Schema, variants: Sequence[Schema], *, every: bool) -> Schema:
    """Return a schema that allows what the variants allow. ``every``: all of them hold."""
    if not variants:
        return schema
    properties = _properties(schema)
    needs = [set(_required(each)) for each in variants]
    for each in variants:
        for name, part in _properties(each).items():
            known = properties.get(name, part)
            properties[name] = known if known == part else {"anyOf": [known, part]}
    needed = set.union(*needs) if every else set.intersection(*needs)
    required = [*_required(schema), *sorted(needed)]
    return {**schema, "properties": properties, "required": list(dict.fromkeys(required))}


def _properties(schema: Schema) -> Schema:
    found = schema.get("properties")
    return dict(found) if isinstance(found, dict) else {}


def _required(schema: Schema) -> list[str]:
    return [name for name in _listed(schema.get("required")) if isinstance(name, str)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
