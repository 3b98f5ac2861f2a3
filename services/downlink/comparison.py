"""Compares a server's session object with the settings that were asked for. Pure.

Servers write the object in different ways: with the flat names of the beta API, with fields left
out or null, with a voice as an object. A field differs only if the object clearly has another value
for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: Objects for which null means that the feature is off. Any other null says nothing.
FEATURES = frozenset({"turn_detection", "transcription", "noise_reduction", "tracing"})
#: Texts of which the server may return a longer form: "gpt-transcribe-2026-08-01", "en-US".
PREFIXES = frozenset({"model", "language"})
#: The paths of the beta API's flat names.
FLAT = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "output_audio_format": "audio.output.format",
    "input_audio_format": "audio.input.format",
    "turn_detection": "audio.input.turn_detection",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
}
#: The formats of the beta API, and their names now.
FORMATS = {"g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}


class Difference(NamedTuple):
    """A setting for which the server has another value."""

    path: str
    asked: Any
    told: Any

    def __str__(self) -> str:
        return f"{self.path} is {_short(self.told)}, not {_short(self.asked)}"


def nested(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session object in the shape of the GA API."""
    made: dict[str, Any] = {name: value for name, value in session.items() if name not in FLAT}
    for name, path in FLAT.items():
        if name not in session:
            continue
        where = made
        *parents, last = path.split(".")
        for parent in parents:
            inner = where.get(parent)
            where[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            where = where[parent]
        value = session[name]
        where.setdefault(last, _format(value) if last == "format" else value)
    return made


def differences(
    asked: Mapping[str, Any], told: Mapping[str, Any], prefix: str = ""
) -> Iterator[Difference]:
    """Yield the settings for which ``told`` has another value than ``asked``."""
    for name, want in asked.items():
        path, have = f"{prefix}{name}", told.get(name)
        if isinstance(have, Mapping) and isinstance(want, Mapping) and name != "voice":
            yield from differences(want, have, f"{path}.")
        elif name not in told or (have is None and name not in FEATURES):
            continue
        elif not _same(name, want, have):
            yield Difference(path, want, have)


def _same(name: str, want: Any, have: Any) -> bool:
    if want is None:
        off = isinstance(have, Mapping) and have.get("type") in (None, "none")
        return have is None or off
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if isinstance(want, (int, float)) and isinstance(have, (int, float)):
        return math.isclose(want, have, rel_tol=1e-4)
    if isinstance(want, list) and isinstance(have, list):
        return all(one in have for one in want)
    if name == "voice":
        want, have = _voice(want), _voice(have)
    if isinstance(want, str) and isinstance(have, str):
        mine, theirs = want.strip().casefold(), have.strip().casefold()
        return theirs.startswith(mine) if name in PREFIXES else theirs == mine
    return False


def _voice(value: Any) -> Any:
    """Return the name or the id of a voice, which a server may write as an object."""
    return value.get("id") or value.get("name") if isinstance(value, Mapping) else value


def _format(value: Any) -> Any:
    """Return a format of the beta API, such as ``pcm16`` or ``pcm16_16000hz``, as an object."""
    if not isinstance(value, str):
        return value
    found: dict[str, Any] = {"type": FORMATS.get(value, value)}
    if value.startswith("pcm16"):
        found["type"] = "audio/pcm"
        if rate := re.search(r"(\d{4,6})hz$", value.casefold()):
            found["rate"] = int(rate[1])
    return found


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("type", "set")
    text = "off" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
