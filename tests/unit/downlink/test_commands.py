"""Which of a person's commands are followed, and why the others are refused."""

from __future__ import annotations

import pytest

from services.downlink import commands

pytestmark = pytest.mark.unit

MS = 1_000_000


def refusal(command: str, age_ns: int, decide: str) -> str:
    """Return why a command is refused, "" if it is followed."""
    try:
        commands.check(command, age_ns, decide)
    except commands.CommandRefused as error:
        return str(error)
    return ""


@pytest.mark.parametrize("decide", ["server", "client", "never", "push_to_talk"])
def test_a_command_that_comes_late_is_not_followed_but_a_button_is_let_go(decide: str) -> None:
    assert not refusal("interrupt", commands.MAX_AGE_NS, decide)
    assert "1001 ms late" in refusal("interrupt", commands.MAX_AGE_NS + MS, decide)
    assert not refusal("type", commands.MAX_AGE_NS, decide)
    assert "1001 ms late" in refusal("type", commands.MAX_AGE_NS + MS, decide)
    button = "push_to_talk" if decide != "push_to_talk" else ""
    for command, age_ns in (
        ("talk", 0),
        ("release", 0),
        ("release", 10 * commands.MAX_AGE_NS),
    ):
        refused = refusal(command, age_ns, decide)
        assert bool(refused) == bool(button)
        assert button in refused
    assert refusal("talk", commands.MAX_AGE_NS + MS, decide)
