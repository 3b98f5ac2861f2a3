"""The openai package's types of all events, by the name of the event."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from openai.types.realtime import realtime_client_event, realtime_server_event
from pydantic import BaseModel


def _by_name(union: Any) -> dict[str, type[BaseModel]]:
    return {
        get_args(model.model_fields["type"].annotation)[0]: model
        for model in get_args(get_args(union)[0])
    }


@cache
def server_events() -> dict[str, type[BaseModel]]:
    """Return the type of each server event."""
    return _by_name(realtime_server_event.RealtimeServerEvent)


@cache
def client_events() -> dict[str, type[BaseModel]]:
    """Return the type of each client event."""
    return _by_name(realtime_client_event.RealtimeClientEvent)


def unknown_fields(value: object, path: str = "") -> list[str]:
    """Return the paths of the fields of a validated event that its type does not have."""
    if isinstance(value, list):
        return [name for element in value for name in unknown_fields(element, path)]
    if not isinstance(value, BaseModel):
        return []
    dot = f"{path}." if path else ""
    found = [f"{dot}{name}" for name in value.model_extra or ()]
    for name in type(value).model_fields:
        found += unknown_fields(getattr(value, name), f"{dot}{name}")
    return found
