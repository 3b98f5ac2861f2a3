"""An audio part of an item: base64 as servers write it, and samples cut in two."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink.audio_item import AudioItem, BadAudio, decode


def item() -> AudioItem:
    return AudioItem("resp_1", "item_1", 0, out_of_band=False)


@given(st.binary(max_size=100))
def test_each_way_to_write_base64_that_the_rfc_names_gives_the_same_bytes(data: bytes) -> None:
    standard = base64.b64encode(data).decode()
    assert decode(standard, "item_1") == data
    assert decode(standard.rstrip("="), "item_1") == data
    assert decode(base64.urlsafe_b64encode(data).decode(), "item_1") == data
    assert decode(base64.urlsafe_b64encode(data).decode().rstrip("="), "item_1") == data
    assert decode(base64.encodebytes(data).decode(), "item_1") == data
    assert decode(standard.replace("=", "", 1), "item_1") == data
    if data:
        assert decode(standard + "==", "item_1") == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA*A", "AA==AAAA", "=", "…", "AA\0A"])
def test_anything_else_is_an_error_with_the_name_of_the_item(text: str) -> None:
    with pytest.raises(BadAudio, match="audio of item item_1 is not base64"):
        decode(text, "item_1")


@given(st.binary(max_size=60), st.lists(st.integers(1, 7), min_size=1))
def test_pieces_cut_anywhere_are_joined(data: bytes, sizes: list[int]) -> None:
    made, at, came = item(), 0, b""
    while at < len(data):
        size = sizes[at % len(sizes)]
        came += made.take(data[at : at + size])
        at += size
    assert came == data[: len(data) & ~1]
    assert made.received == len(data) // 2
