"""The settings that a recording states: a replay runs the stages with the same ones. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.config import Config, keys
from shared.redaction import without_keys

#: Settings that are not recorded: they name secrets, places and devices, and no other stage's
#: decision depends on them.
UNRECORDED = (
    "bus.",
    "capture.",
    "link.auth",
    "link.key",
    "link.proxy",
    "link.token",
    "link.url",
    "log.",
    "monitor.",
    "playback.device",
    "recorder.",
    "tools.",
)


def settings_to_record(settings: Config) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by their dotted key."""
    found = {}
    for name, _, default in keys():
        value: Any = settings
        for part in name.split("."):
            value = getattr(value, part)
        if value != default and not name.startswith(UNRECORDED):
            found[name] = without_keys(msgspec.to_builtins(value))
    return found
