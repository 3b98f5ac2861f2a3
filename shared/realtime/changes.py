"""The settings of [session] that a person may change at the door while a conversation runs. Pure.

A change holds until the conversation ends; config.toml stays as it is. Monitor publishes the
changes (see Panel), and uplink and downlink follow them as they follow ``bargein reload``. Only
settings that can do no harm are among them: none that names a file, a server or a key, and none
that decides who answers or interrupts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Meta

from shared.config import Config, ConfigError, changed, keys
from shared.messages import MAX_CHANGE
from shared.setting_values import accepted

SECTION = "session."
#: The settings, in the order in which the page shows them.
NAMES = (
    "voice",
    "speed",
    "language",
    "instructions",
    "max_output_tokens",
    "reasoning_effort",
    "noise_reduction",
    "turn_detection.type",
    "turn_detection.threshold",
    "turn_detection.prefix_padding_ms",
    "turn_detection.silence_duration_ms",
    "turn_detection.eagerness",
)
#: The API's own voices. A server may have others.
VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
TURNS = "turn_detection."
TURNS_TYPE = f"{TURNS}type"
#: Without turn detection nobody would answer, and stages decide that only when they start.
TURN_TYPES = Literal["server_vad", "semantic_vad"]


def changeable(settings: Config) -> list[str]:
    """Return the names of the settings that can be changed.

    A session without turn detection, as with push to talk, keeps having none.
    """
    by_button = settings.interruption.decide == "push_to_talk"
    turns = not by_button and settings.session.turn_detection.type != "none"
    return [name for name in NAMES if turns or not name.startswith(TURNS)]


def applied(settings: Config, changes: Mapping[str, str]) -> Config:
    """Return a configuration with a person's changes.

    ``changes``: "speed" → "1.25". Raises ConfigError for a setting that cannot be changed, and for
    a value that it does not accept.
    """
    if not changes:
        return settings
    names = changeable(settings)
    for name, text in changes.items():
        if name not in names:
            expected = ", ".join(names)
            raise ConfigError([f"{name!r} cannot be changed here (accepted: {expected})"])
        if len(text) > MAX_CHANGE:
            limit = f"at most {MAX_CHANGE} characters here; a longer text belongs in config.toml"
            raise ConfigError([f"{SECTION}{name}: {len(text)} characters ({limit})"])
        if name == TURNS_TYPE and text not in get_args(TURN_TYPES):
            why = "not while the conversation runs" if text == "none" else "not a type"
            raise ConfigError([f"{SECTION}{name} = {text!r}: {why}{accepted(TURN_TYPES)}"])
    return changed(settings, {SECTION + name: text for name, text in changes.items()})


def offered(settings: Config, changes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return each setting with its value, and with the values that it accepts.

    ``accepted``: all of them; ``suggested``: some of them; ``low`` and ``high``: the limits of a
    number.
    """
    kinds = {key: kind for key, kind, _ in keys()} | {SECTION + TURNS_TYPE: TURN_TYPES}
    session = applied(settings, changes).session
    return [
        {
            "name": name,
            "value": reduce(getattr, name.split("."), session),
            "changed": name in changes,
            **_accepted(kinds[SECTION + name]),
            **({"suggested": VOICES} if name == "voice" else {}),
        }
        for name in changeable(settings)
    ]


def _accepted(kind: Any) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"accepted": get_args(kind)}
    if get_origin(kind) is not Annotated:
        return {}
    _, meta = get_args(kind)
    known: Meta = meta
    return {} if known.ge is None else {"low": known.ge, "high": known.le}
