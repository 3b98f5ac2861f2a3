"""The value of a setting: its type and its default, and how it is read from a file or a text.

A setting has a dotted key, such as ``session.turn_detection.type``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from shared.settings import Config


def keys(kind: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key, the type and the default of each setting."""
    hints = get_type_hints(kind, include_extras=True)
    defaults = kind()
    for name in kind.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, msgspec.Struct):
            yield from keys(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hints[name], default


@functools.cache
def known() -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of each setting by its dotted key."""
    return {key: (kind, default) for key, kind, default in keys()}


@functools.cache
def _tables() -> frozenset[str]:
    """Return the settings that are tables of any keys."""
    return frozenset(key for key, (_, default) in known().items() if isinstance(default, dict))


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of a file. A setting that is a table, such as prices.models, stays one.

    A date without quotation marks is a date in TOML, and a text here.
    """
    for name, value in table.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in _tables():
            yield from flatten(value, f"{prefix}{name}.")
        else:
            dated = isinstance(value, dt.date)
            yield f"{prefix}{name}", value.isoformat() if dated else value


def from_text(key: str, text: str) -> Any:
    """Return a value from the environment or the command line: as TOML, or else as plain text."""
    kind = known()[key][0] if key in known() else None
    if kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str):
        return text
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        # Not TOML, a number of thousands of digits, or thousands of brackets.
        return text
    return read["value"] if len(read) == 1 else text


def converted(key: str, value: Any) -> Any:
    """Return a value as the type of its setting. Raises ValueError with the reason."""
    kind = known()[key][0]
    try:
        # Bytes that are not UTF-8 cannot be sent or shown.
        for text in value if isinstance(value, list) else [value]:
            str(text).encode()
        return msgspec.convert(value, kind)
    except UnicodeEncodeError:
        raise ValueError("not text in UTF-8") from None
    except msgspec.ValidationError as error:
        why = str(error)
        raise ValueError(f"{why[:1].lower()}{why[1:]}{accepted(_part(kind, why))}") from None


def _part(kind: Any, why: str) -> Any:
    """Return the type of the part of a table that msgspec found wrong: its path is in ``why``."""
    for item, field in re.findall(r"(\[[^]]*\])|\.(\w+)", why.partition("`$")[2]):
        kinds = get_args(kind) if item else (get_type_hints(kind, include_extras=True)[field],)
        if not (isinstance(kinds[-1], type) and issubclass(kinds[-1], msgspec.Struct)) and item:
            return kind
        kind = kinds[-1]
    return kind


def accepted(kind: Any) -> str:
    """Return the values that a setting accepts, in brackets; "" if any text is accepted."""
    values = _values(kind)
    return f" (accepted: {values})" if values else ""


def _values(kind: Any) -> str:
    origin = get_origin(kind)
    if kind is bool:
        return "true, false"
    if origin is Literal:
        return ", ".join(json.dumps(value) for value in get_args(kind))
    if origin is Union:
        return ", or ".join(_values(each) for each in get_args(kind))
    if origin is list:
        return _values_of_list(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return ", ".join(kind.__struct_fields__)
    if origin is dict:
        return "a table, such as { name = value }"
    if origin is not Annotated:
        return ""
    plain, meta = get_args(kind)
    if meta.description:
        return str(meta.description)
    return _values_of_text(meta) if plain is str else _range(meta)


def _values_of_list(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"{_values(kind)}, in a list such as {json.dumps([get_args(kind)[0]])}"
    return 'a list of texts, such as ["one", "two"]' if kind is str else "a list of tables"


def _values_of_text(meta: msgspec.Meta) -> str:
    if meta.examples:
        return f"such as {json.dumps(meta.examples[0])}"
    low, high = meta.min_length or 0, meta.max_length
    return f"{low} to {high} characters" if high is not None else ""


def _range(meta: msgspec.Meta) -> str:
    low = meta.ge if meta.ge is not None else meta.gt
    high = meta.le if meta.le is not None else meta.lt
    if low is None or high is None:
        return ""
    ends = f" without {low}" if meta.ge is None else f" without {high}" if meta.le is None else ""
    return f"{low} to {high}{ends}"


def did_you_mean(key: str, names: Sequence[str]) -> str:
    """Return a hint at the name that is most like a key; "" if none is like it."""
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not close:
        tail = {k.rpartition(".")[2]: k for k in names}
        near = difflib.get_close_matches(key.rpartition(".")[2], list(tail), n=1, cutoff=0.75)
        close = [tail[near[0]]] if near else []
    return f": did you mean {close[0]}?" if close else ""


def build(kind: type[msgspec.Struct], values: Mapping[str, Any], prefix: str = "") -> Any:
    """Return settings as an object. ``prefix``: the beginning of the keys of ``kind``."""
    made = {}
    for name in kind.__struct_fields__:
        default = getattr(kind(), name)
        made[name] = (
            build(type(default), values, f"{prefix}{name}.")
            if isinstance(default, msgspec.Struct)
            else values[f"{prefix}{name}"]
        )
    return kind(**made)
