"""The lines of ``bargein watch``."""

from __future__ import annotations

from typing import Any

import pytest

from commands.watch import line

pytestmark = pytest.mark.unit


def caption(role: str, text: str, before: str = "") -> dict[str, Any]:
    shown = {"type": "caption", "item_id": "a", "role": role, "final": True, "cut": False}
    return {**shown, "heard": text, "unheard": "", "before": before}


def test_words_that_come_after_the_reply_to_them_say_so() -> None:
    assert line(caption("user", "Hello?")) == "user: Hello?"
    late = caption("user", "Hello?", before="item_2")
    assert line(late, {"a"}) == ""  # printed already
    assert line(late, {"item_2"}) == "user (before that): Hello?"
    # The reply is not printed yet: it is still heard.
    assert line(late, {"item_1"}) == "user: Hello?"


def test_a_caption_is_a_line_when_it_was_heard_or_cut() -> None:
    said = caption("assistant", "Hello")
    assert line({**said, "unheard": " there."}) == ""
    assert line({**said, "heard": "Hello there."}) == "assistant: Hello there."
    cut = {**said, "unheard": " there.", "cut": True}
    assert line(cut) == "assistant: Hello [not heard: there.]"


def test_a_result_of_a_function_is_one_line() -> None:
    told = {"type": "result", "summary": "light()", "result": "done", "text": "The light\nis on."}
    assert line(told) == "function light(): done: The light is on."
    assert line({**told, "result": "denied", "text": ""}) == "function light(): denied"


def test_a_reply_without_sound_was_not_heard_for_0_of_0_s() -> None:
    cut = {"type": "interruption", "silence_ms": 12.0, "heard_ms": 0, "received_ms": 0}
    assert line(cut) == "interrupted after 12 ms: it had no sound"
    assert line({**cut, "received_ms": 900}) == "interrupted after 12 ms: heard 0.0 of 0.9 s"
