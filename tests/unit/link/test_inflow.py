"""The limits on what a server may send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.link.endings import Lost, of_error
from services.link.inflow import (
    BURST,
    FRAMES,
    FRAMES_AT_ONCE,
    LONGEST,
    MESSAGE_RATE,
    MESSAGES,
    PING_RATE,
    PINGS,
    RATE,
    SHORT,
    SHORT_AT_ONCE,
    Flood,
    Inflow,
)
from shared import messages

pytestmark = pytest.mark.unit


def test_a_frame_is_refused_before_it_comes() -> None:
    inflow = Inflow(0)
    inflow.announced(LONGEST)
    for length in (LONGEST + 1, 2**63):
        with pytest.raises(Flood, match=f"a message of {length} bytes"):
            inflow.announced(length)


def test_a_message_in_parts_is_no_longer_than_one_in_one() -> None:
    inflow = Inflow(0)
    inflow.announced(LONGEST // 2)
    inflow.came(LONGEST // 2, 0, last=False)
    inflow.announced(LONGEST // 2)
    with pytest.raises(Flood, match="a message of"):
        inflow.announced(LONGEST // 2 + 1)
    inflow.came(100, 0, last=True)
    # The message is complete: the next one is counted from zero.
    inflow.announced(LONGEST)


def test_a_message_has_an_end() -> None:
    inflow = Inflow(0)
    for turn in range(3):
        for frame in range(FRAMES):
            n = turn * FRAMES + frame
            # A ping between the frames of a message is not one of them.
            inflow.came(0, n, last=frame == FRAMES - 1)
            inflow.came(0, n, last=True, control=True)
    for _ in range(FRAMES):
        inflow.came(0, 1e6, last=False)
    with pytest.raises(Flood, match="in more than"):
        inflow.came(0, 1e6, last=False)


def test_a_burst_is_borne_and_a_flood_is_not() -> None:
    inflow = Inflow(5)
    part = BURST // 64
    for _ in range(64):
        inflow.came(part, 5, last=True)
    # With time there is room again, but never for more than one burst.
    inflow.came(RATE, 6, last=True)
    for _ in range(64):
        inflow.came(part, 1e9, last=True)
    with pytest.raises(Flood, match="bytes a second"):
        inflow.came(1, 1e9, last=True)


def test_an_hour_of_speech_at_ten_times_its_pace_is_no_flood() -> None:
    inflow = Inflow(0)
    of_a_second = 24000 * 2 * 4 // 3 + 300
    for second in range(3600):
        for part in range(25):
            inflow.came(of_a_second // 25, (second + part / 25) / 10, last=True)


@pytest.mark.parametrize(
    ("burst", "rate", "what", "frame"),
    [
        (MESSAGES, MESSAGE_RATE, "messages", {"last": True}),
        (PINGS, PING_RATE, "pings", {"last": True, "control": True}),
    ],
)
def test_many_small_frames_are_a_flood(
    burst: int, rate: int, what: str, frame: dict[str, bool]
) -> None:
    inflow = Inflow(0)
    for _ in range(burst):
        inflow.came(SHORT + 1, 0, **frame)
    # With time there is room again.
    for n in range(10 * rate):
        inflow.came(SHORT + 1, 1 + n / rate, **frame)
    with pytest.raises(Flood, match=f"more than {rate} {what}"):
        repeat(2 * rate, lambda: inflow.came(SHORT + 1, 11, **frame))


def test_fewer_short_messages_are_a_flood() -> None:
    inflow = Inflow(0)
    # A server that was quiet for long may not send more at once for it.
    inflow.drained(600)
    for _ in range(SHORT_AT_ONCE):
        inflow.came(SHORT, 600, last=True)
    # Audio beside them does not count.
    inflow.came(SHORT + 1, 600, last=True)
    inflow.came(SHORT, 600, last=False)
    inflow.came(1, 600, last=True)
    with pytest.raises(Flood, match=f"more than {MESSAGE_RATE} short messages"):
        inflow.came(SHORT, 600, last=True)


def test_messages_that_came_while_link_was_stopped_are_no_flood() -> None:
    minute = 60 * 50  # a conversation has about 50 messages a second
    assert minute > SHORT_AT_ONCE
    inflow = Inflow(0)
    inflow.drained(1)
    for _ in range(minute):
        inflow.came(300, 61, last=True)
    inflow.drained(61)
    with pytest.raises(Flood, match="short messages"):
        repeat(SHORT_AT_ONCE + 1, lambda: inflow.came(300, 61, last=True))


def repeat(count: int, call: Callable[[], object]) -> None:
    for _ in range(count):
        call()


def test_messages_in_many_parts_are_a_flood() -> None:
    inflow = Inflow(0)
    for n in range(FRAMES_AT_ONCE):
        inflow.came(1, 0, last=n % 1000 == 0)
    with pytest.raises(Flood, match="frames a second"):
        inflow.came(1, 0, last=True)


def test_a_flood_is_hostile() -> None:
    assert of_error(Flood("too much")) == Lost("hostile", "too much")


def test_the_limits_of_a_text_and_of_a_burst_are_in_order() -> None:
    assert messages.MAX_TEXT < LONGEST < BURST
