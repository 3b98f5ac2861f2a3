"""A module's functions: which are offered, with which schema, and how they are called. Pure.

A function's parameters become the fields of a struct, from which msgspec makes the schema, and
into which it reads the arguments.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

from services.tools.api import Image
from services.tools.schemas import for_api
from shared.messages import ToolOutput

#: The longest description of a function, characters.
MAX_DESCRIPTION = 4000


class BadFunction(ValueError):
    """Raised when a function cannot be offered, with the reason."""


class BadArguments(ValueError):
    """Raised when the model's arguments do not fit the function, with the reason."""


@dataclass(frozen=True)
class Function:
    """One function that is offered."""

    name: str
    call: Callable[..., Any]
    description: str
    parameters: Mapping[str, Any]  # a JSON Schema
    arguments: type[msgspec.Struct]

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.call)

    def read(self, text: str) -> dict[str, Any]:
        """Return the arguments in a JSON text. Raises BadArguments."""
        try:
            # A model writes "5" for 5 now and then.
            decoded = msgspec.json.decode(text or "{}")
            read = msgspec.convert(decoded, self.arguments, strict=False, dec_hook=_read_foreign)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadArguments(f"bad arguments: {error}") from None
        return {name: getattr(read, name) for name in self.arguments.__struct_fields__}


def describe(call: Callable[..., Any], name: str) -> Function:
    """Return a function with its schema. Raises BadFunction."""
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise BadFunction("it yields its values: let it return them, as a list")
    try:
        hints = get_type_hints(call, include_extras=True)
        signature = inspect.signature(call)
    except Exception as error:  # noqa: BLE001 - a person's annotation can raise anything
        raise BadFunction(f"its types cannot be read: {error}") from None
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadFunction(f"the parameter {parameter.name} has no name for the model")
        kind = hints.get(parameter.name, Any)
        kind = Any if kind is object else kind
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        else:
            default = partial(copy.copy, parameter.default)
            fields.append((parameter.name, kind, msgspec.field(default_factory=default)))
    try:
        # With keyword-only fields, a field without a default may follow one with a default.
        arguments = msgspec.defstruct("Arguments", fields, kw_only=True)
        schema = _schema(arguments, signature)
    except Exception as error:  # noqa: BLE001 - a person's types can be odd in any way
        # msgspec first says what a programmer of a library could do, and last what is wrong.
        why = str(error).splitlines()[-1] if str(error) else type(error).__name__
        raise BadFunction(f"its types have no JSON Schema: {why}") from None
    description = (inspect.getdoc(call) or "").strip()[:MAX_DESCRIPTION]
    return Function(name, call, description, schema, arguments)


def checked_name(name: str) -> str:
    """Return the name of a module to import. Raises ImportError if it cannot be a person's own."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("services", "shared"):
        raise ImportError(f"{top} is the name of another module: give yours another name")
    if name.endswith(".py") or "/" in name:
        stem = PurePath(name).stem
        raise ImportError(f"name the module as Python's import does: {stem!r}, for {stem}.py")
    return name


def offered(module: ModuleType) -> tuple[list[Function], list[str]]:
    """Return the functions that a module offers, and a line about each that cannot be offered.

    They are those in ``__all__``, or else those that are defined in the module and whose names do
    not begin with an underscore.
    """
    names = getattr(module, "__all__", None)
    found: list[Function] = []
    faults: list[str] = []
    for name in names if names is not None else list(vars(module)):
        call = getattr(module, name, None)
        # A method of an object and a function with a cache count as functions, a class does not.
        if names is not None and not inspect.isroutine(call):
            faults.append(f"{name} is not offered: the module has no such function")
            continue
        own = names is not None or getattr(call, "__module__", "") == module.__name__
        if name.startswith("_") or not inspect.isroutine(call) or not own:
            continue
        try:
            found.append(describe(call, name))
        except BadFunction as error:
            faults.append(f"{name} is not offered: {error}")
            continue
        if not found[-1].description:
            faults.append(f"{name} has no docstring: the model can only guess when to call it")
    return found, faults


def output(value: object) -> ToolOutput:
    """Return what a function returned as an output: pictures apart, everything else as text."""
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    images = [part.url for part in parts if isinstance(part, Image)]
    if not images:
        return ToolOutput(_valid(_text(value)))
    texts = [_text(part) for part in parts if not isinstance(part, Image)]
    return ToolOutput(_valid("\n".join(texts)) or "The picture follows.", images)


def _valid(text: str) -> str:
    """Return a text that can be sent: the name of a file can have half characters, which cannot."""
    return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str:
    if value is None:
        return "Done."
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"[{len(value)} bytes that are no text]"
    try:
        return msgspec.json.encode(value, enc_hook=_write_foreign).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return str(value)


# Types that msgspec does not know. Models of pydantic are known by their methods: a module that has
# none must not pay for the import.


def _foreign_schema(kind: type) -> dict[str, Any]:
    """Return the schema of a type that msgspec does not know."""
    if hasattr(kind, "model_json_schema"):
        return for_api(kind.model_json_schema())
    if issubclass(kind, PurePath):
        return {"type": "string"}
    raise NotImplementedError


def _read_foreign(kind: type, value: object) -> Any:
    """Return decoded JSON as a type that msgspec does not know."""
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise NotImplementedError


def _write_foreign(value: Any) -> object:
    """Return a value that msgspec can write, in place of one that it does not know."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    return str(value)


def _schema(arguments: type[msgspec.Struct], signature: inspect.Signature) -> dict[str, Any]:
    (top,), parts = msgspec.json.schema_components(
        (arguments,), schema_hook=_foreign_schema, ref_template="#/$defs/{name}"
    )
    schema = dict(parts.pop("Arguments", top))
    schema.pop("title", None)
    # msgspec does not show a default that comes from a factory.
    for name, parameter in signature.parameters.items():
        default = parameter.default
        shown = default is not parameter.empty and isinstance(default, (str, int, float, bool))
        if shown and isinstance(schema["properties"].get(name), dict):
            schema["properties"][name] = {**schema["properties"][name], "default": default}
    if parts:
        schema["$defs"] = parts
    return schema
