"""Checks of a client's events, with the error texts of the service.

A check is a function of a value and the path of the value in the event (``session.tools[0].name``).
It raises ``Refused`` if the value is wrong, and returns nothing otherwise. Checks are made from
other checks, so that a table can describe the shape of an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any, str], None]


class Refused(Exception):
    """Raised when the answer to an event is an ``error`` event. The session goes on."""

    def __init__(
        self,
        code: str | None,
        message: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind

    def event(self, event_id: str | None = None) -> dict[str, Any]:
        """Return the ``error`` event that answers the client event ``event_id``."""
        return {
            "type": "error",
            "error": {
                "type": self.kind,
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "event_id": event_id,
            },
        }


def anything(value: Any, path: str) -> None:
    """Accept any value."""


def text(longest: int | None = None) -> Check:
    """Return a check that accepts a string of at most ``longest`` characters."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        _check_length(value, path, "a string", longest)

    return check


def flag(value: Any, path: str) -> None:
    """Accept a boolean."""
    if not isinstance(value, bool):
        raise _wrong_type(value, path, "a boolean")


def integer(low: int, high: int | None = None) -> Check:
    """Return a check that accepts an integer from ``low`` to ``high``, and refuses 5.0."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(value, path, "an integer")
        _in_range(value, path, low, high, "integer")

    return check


def number(low: float, high: float) -> Check:
    """Return a check that accepts a number from ``low`` to ``high``."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _wrong_type(value, path, "a number")
        _in_range(value, path, low, high, "decimal")

    return check


def choice(*values: str) -> Check:
    """Return a check that accepts one of these strings."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, f"one of {listed(values, 'or')}")
        if value not in values:
            raise Refused("invalid_value", unsupported(value, values), path)

    return check


def either(checks: Mapping[type, Check]) -> Check:
    """Return a check that applies the check of the value's JSON type (str, int, dict or list)."""

    def check(value: Any, path: str) -> None:
        for kind, then in checks.items():
            if isinstance(value, kind) and not isinstance(value, bool):
                return then(value, path)
        raise _wrong_type(value, path, " or ".join(_NAMES[kind] for kind in checks))

    return check


def array(check: Check, longest: int | None = None) -> Check:
    """Return a check that accepts a list whose elements ``check`` accepts."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong_type(value, path, "an array")
        _check_length(value, path, "an array", longest)
        for index, element in enumerate(value):
            check(element, f"{path}[{index}]")

    return checked


def mapping(check: Check, most: int, longest_key: int) -> Check:
    """Return a check that accepts an object with up to ``most`` keys of any name.

    ``check`` has to accept each value. A key may have ``longest_key`` characters.
    """

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        if len(value) > most:
            raise Refused(
                "object_above_max_properties",
                f"Invalid '{path}': too many properties. Expected an object with at most {most}"
                f" properties, but got an object with {len(value)} properties instead.",
                path,
            )
        for key, element in value.items():
            text(longest_key)(key, path)
            check(element, f"{path}.{key}")

    return checked


class fields:  # noqa: N801 (made and called like the other checks)
    """A check that accepts an object with these fields and no others.

    A field that is not required may also be null.
    """

    def __init__(self, checks: Mapping[str, Check], required: Sequence[str] = ()) -> None:
        #: The names of the fields.
        self.names = frozenset(checks)
        self._checks = checks
        self._required = required

    def __call__(self, value: Any, path: str) -> None:
        """Check an object. Raises Refused."""
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        dot = f"{path}." if path else ""
        for key in value:
            if key not in self._checks:
                raise Refused(
                    "unknown_parameter", f"Unknown parameter: '{dot}{key}'.", f"{dot}{key}"
                )
        for key in self._required:
            if key not in value:
                raise missing(f"{dot}{key}")
        for key, element in value.items():
            if element is not None or key in self._required:
                self._checks[key](element, f"{dot}{key}")


def tagged(
    variants: Mapping[str, Check], tag: str = "type", nulls: frozenset[str] = frozenset()
) -> Check:
    """Return a check that applies the check which the object's field ``tag`` names.

    The published types have one type for all variants of some objects, and a client that dumps such
    a type sends null in the fields of the other variants. So these may be null as well, and so may
    the fields ``nulls``.
    """
    names = nulls.union(*(v.names for v in variants.values() if isinstance(v, fields)))

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        where = f"{path}.{tag}" if path else tag
        if value.get(tag) is None:
            raise missing(where)
        choice(*variants)(value[tag], where)
        variant = variants[value[tag]]
        others = names - variant.names if isinstance(variant, fields) else ()
        given = {key: v for key, v in value.items() if v is not None or key not in others}
        variant(given, path)

    return check


def missing(path: str) -> Refused:
    """Return the refusal of an event that lacks a required field."""
    return Refused("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def unsupported(value: str, values: Sequence[str]) -> str:
    """Return the error text for a value that is not one of ``values``, as the service words it."""
    return f"Invalid value: '{value}'. Supported values are: {listed(values, 'and')}."


def listed(values: Sequence[str], last: str) -> str:
    """Return the values as ``'a', 'b', and 'c'``, with ``last`` in place of "and"."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) == 1:
        return quoted[0]
    if len(quoted) == 2:
        return f"{quoted[0]} {last} {quoted[1]}"
    return f"{', '.join(quoted[:-1])}, {last} {quoted[-1]}"


_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


def _wrong_type(value: Any, path: str, expected: str) -> Refused:
    return Refused(
        "invalid_type",
        f"Invalid type for '{path}': expected {expected}, but got {_NAMES[type(value)]} instead.",
        path,
    )


def _check_length(value: str | list[Any], path: str, what: str, longest: int | None) -> None:
    """Raise Refused if a value is too long. ``what``: "a string" or "an array"."""
    if longest is not None and len(value) > longest:
        kind = what.split()[1]
        raise Refused(
            f"{kind}_above_max_length",
            f"Invalid '{path}': {kind} too long. Expected {what} with maximum length"
            f" {longest}, but got {what} with length {len(value)} instead.",
            path,
        )


def _in_range(value: float, path: str, low: float | None, high: float | None, kind: str) -> None:
    if low is not None and value < low:
        bound, code, expected = "below minimum", "below_min_value", f">= {low}"
    elif high is not None and value > high:
        bound, code, expected = "above maximum", "above_max_value", f"<= {high}"
    else:
        return
    raise Refused(
        f"{kind}_{code}",
        f"Invalid '{path}': {kind} {bound} value. Expected a value {expected}, but got {value}"
        " instead.",
        path,
    )
