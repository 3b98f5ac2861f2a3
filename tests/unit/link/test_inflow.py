"""The limits on what a server may send."""

from __future__ import annotations

import pytest

from services.link.inflow import BURST, FRAMES, LONGEST, RATE, Flood, Inflow
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
    for _ in range(3):
        for n in range(FRAMES):
            # A ping between the frames of a message is not one of them.
            inflow.came(0, 0, last=n == FRAMES - 1)
            inflow.came(0, 0, last=True, control=True)
    for _ in range(FRAMES):
        inflow.came(0, 0, last=False)
    with pytest.raises(Flood, match="in more than"):
        inflow.came(0, 0, last=False)


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
        inflow.came(of_a_second, second / 10, last=True)


def test_what_is_skipped_is_less_than_what_is_not_read() -> None:
    assert messages.MAX_TEXT < LONGEST < BURST
