"""The key does not pass in what a server sends, and JSON stays JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.link.masking import MASK, Mask

pytestmark = pytest.mark.unit

KEY = 'sk-te/st"A\\b_0z'


def escaped(text: str, how: int) -> str:
    """Return a JSON string in which every character that ``how`` has a bit for is an escape."""
    parts = []
    for n, character in enumerate(text):
        if how >> n & 1:
            parts.append(f"\\u{ord(character):04{'xX'[n % 2]}}")
        else:
            parts.append(json.dumps(character)[1:-1].replace("/", "\\/" if n % 2 else "/"))
    return f'"{"".join(parts)}"'


def strings(value: Any) -> list[str]:
    """Return every string in a JSON value, the names of members included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for pair in value.items() for each in pair for s in strings(each)]
    return [s for each in value for s in strings(each)] if isinstance(value, list) else []


@given(
    st.text(max_size=5), st.text(max_size=5), st.integers(0, 2 ** len(KEY) - 1), st.integers(0, 9)
)
def test_however_the_key_is_spelled_it_is_hidden_and_the_rest_stays(
    before: str, after: str, how: int, number: int
) -> None:
    inner = json.dumps(before)[:-1] + escaped(KEY, how)[1:-1] + json.dumps(after)[1:]
    text = f'{{{inner}: [{number}, {{"message": {inner}}}, null]}}'.encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return  # a lone surrogate: downlink cannot read the event either
    masked = Mask(KEY).event(text)
    found = f"{before}{MASK}{after}"
    assert json.loads(masked) == {found: [number, {"message": found}, None]}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        # The letters of the key are there, but behind an escape, or as a member's name.
        ("nvapi-0123", rb'{"text":"line\nvapi-0123"}'),
        ("u0073k-abc", rb'{"text":"\u0073k-abc"}'),
        ("type", b'{"type":"error","text":"type"}'),
        ("", b'{"type":"error"}'),
        ("AAAAAAA", b'{"delta":"AAAAAAAAAAAAAAAAAAAA"}'),
    ],
)
def test_a_text_without_the_key_is_not_changed(key: str, text: bytes) -> None:
    masked = Mask(key).event(text)
    assert json.loads(masked) == json.loads(text)


def test_a_backslash_before_an_escape_is_none() -> None:
    text = rb'{"text":"\\u0073k-secret01 and \u0073k-secret01"}'
    assert strings(json.loads(Mask("sk-secret01").event(text))) == [
        "text",
        r"\u0073k-secret01 and ****",
    ]


@pytest.mark.parametrize(
    "text", [b'{"a":"sk-secret01"', b"sk-secret01", b"[" * 5000 + b'"sk-secret01']
)
def test_a_text_that_is_no_json_loses_the_key_too(text: bytes) -> None:
    assert b"secret01" not in Mask("sk-secret01").event(text)


def test_a_text_loses_the_key_in_any_spelling() -> None:
    mask = Mask("sk-secret01")
    assert mask.text(r"HTTP 401 sk-secret01 \u0073k-secret0\u0031") == "HTTP 401 **** ****"
    assert Mask("").text("as it is") == "as it is"


def test_an_event_without_the_key_is_the_same_object() -> None:
    text = b'{"delta":"' + b"QUJD\\/" * 1000 + b'"}'
    assert Mask("sk-secret01").event(text) is text
