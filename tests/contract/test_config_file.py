"""config.toml documents every setting: its default, its unit and its meaning."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest

from shared import config

pytestmark = pytest.mark.contract

TEXT = config.FILE.read_text("utf-8")
KNOBS = {key: (kind, default) for key, kind, default in tuple(config.keys())}
every_knob = pytest.mark.parametrize("key", KNOBS)

#: How a setting's comment has to begin, by the suffix of the setting's key: with the unit.
UNITS = {"_ms": "ms, ", "_s": "s, "}


def lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the value and the comment of each line that sets something.

    A setting that is a table has a heading, and one line for each of its rows: the value is the
    whole table then.
    """
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[([\w.]+)\](?:  # (\S.*))?", line):
            section = heading[1]
            if section in KNOBS:
                rows = re.findall(r'^"[^"]+" = \{ .* \}$', text, re.MULTILINE)
                value = ", ".join(rows)
                yield section, f"{{ {value} }}", heading[2] or ""
            else:
                yield f"[{section}]", "", heading[2] or ""
        elif section in KNOBS and re.fullmatch(r'"[^"]+" = \{ .* \}', line):
            continue
        elif setting := re.fullmatch(
            r"(\w+) = (\"[^\"]*\"|\[[^\]]*\]|[^\s#]+)(?:  # (\S.*))?", line
        ):
            yield f"{section}.{setting[1]}", setting[2], setting[3] or ""
        else:
            assert not line or line.startswith("# "), f"config.toml: {line}"


WRITTEN = {key: (value, comment) for key, value, comment in lines(TEXT)}


def test_it_says_what_holds_without_it() -> None:
    loaded = config.resolve(config.FILE, {}, [])
    assert loaded.config == config.Config()
    assert set(loaded.sources.values()) == {config.FILE.name}


def test_it_has_every_knob_once_and_in_order() -> None:
    assert [key for key in WRITTEN if not key.startswith("[")] == list(KNOBS)
    assert len(WRITTEN) == len(list(lines(TEXT)))


@every_knob
def test_its_default_is_the_codes(key: str) -> None:
    default = KNOBS[key][1]
    found = tomllib.loads(f"value = {WRITTEN[key][0]}")["value"]
    assert msgspec.convert(found, KNOBS[key][0]) == default
    assert type(found) is type(default)


@every_knob
def test_it_has_a_comment_with_its_unit(key: str) -> None:
    comment = WRITTEN[key][1]
    assert len(comment) > 10
    unit = next((unit for suffix, unit in UNITS.items() if key.endswith(suffix)), None)
    if unit:
        assert comment.startswith(unit)
    elif key.endswith("seconds"):
        assert comment.startswith("s, ")
    else:
        assert not comment.startswith(tuple(UNITS.values()))


def test_every_section_has_a_comment() -> None:
    headings = {key: comment for key, (_, comment) in WRITTEN.items() if key.startswith("[")}
    sections = {f"[{key.rpartition('.')[0]}]" for key in KNOBS}
    assert set(headings) == sections
    assert all(headings.values())


def choices(kind: Any) -> tuple[str, ...]:
    """Return the names that a setting accepts, or () if the setting accepts other values."""
    if get_origin(kind) is Annotated:
        return choices(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) is Literal else ()


@pytest.mark.parametrize("key", [key for key, (kind, _) in KNOBS.items() if choices(kind)])
def test_its_comment_names_every_choice(key: str) -> None:
    named = set(re.findall(r'"([\w-]+)"', WRITTEN[key][1]))
    assert named == set(choices(KNOBS[key][0]))


def test_its_beginning_shows_how_else_a_knob_is_set() -> None:
    beginning = TEXT.partition("[")[0]
    variables = dict(re.findall(r"(BARGEIN_[A-Z]\w+)=(\S+?)[\s,)]", beginning))
    settings = re.findall(r"--set (\S+=\S+)", beginning)
    assert variables
    assert settings
    loaded = config.resolve(config.FILE, variables, settings)
    assert {source for source in loaded.sources.values() if source != "config.toml"} >= {"--set"}
    config.resolve(config.FILE, variables, [])


def test_it_holds_no_key() -> None:
    assert config.masked_text(TEXT) == TEXT
