"""Which faults a person sees, and how often."""

from __future__ import annotations

import pytest

from commands.screen.faults import AWAY_S, HOLD_S, UNWELL_S, Faults, notable
from shared import messages

pytestmark = pytest.mark.unit

REASON = "nobody answers at 10.0.0.1: is the network up?"
AWAY = messages.LinkState(state="waiting", cause="unreachable", reason=REASON)
OPEN = messages.LinkState(state="open", session=1)


def health(state: str = "", *, ok: bool = True) -> messages.Health:
    return messages.Health(pid=1, ok=ok, state=state, counters={})


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("20:16:55.441 I voice marin", None),
        ("20:16:55.441 W the microphone clips", ("log", "the microphone clips")),
        ("20:16:55.441 E no key", ("log", "no key")),
        ("20:16:55.501 emulator listens", None),
        ("  ", None),
        ("ValueError: no", ("raw", "ValueError: no")),
    ],
)
def test_a_person_gets_warnings_and_errors(line: str, found: tuple[str, str] | None) -> None:
    assert notable(line) == found


def test_a_short_absence_of_the_link_is_not_shown() -> None:
    faults = Faults()
    faults.logged("link", f"ws://x: {REASON}; trying again in 0.5 s", 0.0)
    assert faults.link(AWAY, 0.0) == []
    assert faults.due(AWAY_S - 0.1) == []
    assert faults.link(OPEN, AWAY_S) == []
    assert faults.is_open


def test_a_long_absence_is_shown_once_and_so_is_its_end() -> None:
    faults = Faults()
    shown = []
    for tick in range(40):
        faults.logged("link", f"ws://x: {REASON}; trying again in {tick}.0 s", tick)
        shown += faults.link(AWAY, tick) + faults.due(tick + 0.9)
    assert shown == [f"link: {REASON}"]
    assert faults.link(OPEN, 50.0) == ["link: connected again"]
    assert faults.link(OPEN, 51.0) == []


def test_a_refusal_is_shown_at_once_and_else_the_log_says_it() -> None:
    faults = Faults()
    refused = messages.LinkState(state="refused", cause="refused", reason="wrong key")
    assert faults.link(refused, 1.0) == ["link: wrong key"]
    faults.logged("link", "wss://x refused the connection: wrong key", 1.0)
    assert faults.due(9.0) == []
    only_logged = Faults()
    only_logged.logged("link", "wss://x refused the connection: wrong key", 1.0)
    assert only_logged.rest() == ["link: wss://x refused the connection: wrong key"]


def test_a_warning_is_shown_once_with_its_advice_until_the_stage_is_well() -> None:
    faults = Faults()
    advice = "no microphone: plug one in; trying again every 2 s"
    shown = []
    for tick in range(0, 60, 10):
        again = f" ({tick} times, {2 * tick} in all)" if tick else ""
        shown += faults.health("capture", health("no microphone", ok=False), tick)
        faults.logged("capture", advice + again, tick)
        shown += faults.due(tick + HOLD_S) + faults.due(tick + UNWELL_S + 1)
    assert shown == [f"capture: {advice}"]
    assert faults.health("capture", health(), 61.0) == ["capture: well again"]
    assert faults.health("capture", health(), 62.0) == []
    faults.logged("capture", advice, 63.0)
    assert faults.due(64.0) == [f"capture: {advice}"]


def test_a_health_without_a_log_is_shown() -> None:
    """The stage may run on another machine."""
    faults = Faults()
    for tick in range(9):
        faults.health("vad", health("hidden by the echo", ok=False), tick)
    assert faults.due(9.0) == ["vad: hidden by the echo"]
    assert faults.due(10.0) == []


def test_the_end_of_a_process_has_its_last_words() -> None:
    faults = Faults()
    faults.raw("vad", "Traceback (most recent call last):")
    faults.raw("vad", "ImportError: no silero")
    assert faults.ended("vad", "has failed") == "has failed (ImportError: no silero)"
    assert faults.ended("vad", "has failed") == "has failed"
