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
    assert line(late, {"item_2"}) == "user (before that): Hello?"
    # The reply is not printed yet: it is still heard.
    assert line(late, {"item_1"}) == "user: Hello?"
