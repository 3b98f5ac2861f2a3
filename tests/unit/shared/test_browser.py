"""The clock of a page, and what a page sends."""

from __future__ import annotations

import random

import pytest

from shared.audio.browser import wire
from shared.audio.browser.clock import PageClock

pytestmark = pytest.mark.unit

MS = 1_000_000


@pytest.mark.parametrize("ppm", [0, 100, -100])
def test_the_clock_is_exact_although_messages_are_late_and_the_clocks_drift(ppm: int) -> None:
    rng = random.Random(1)
    clock = PageClock()
    worst = 0
    for step in range(3000):
        clock_s = 5 + step * 256 / 24000
        true_ns = round((1000 + clock_s * (1 + ppm * 1e-6)) * 1e9)
        # The browser renders in bursts of 10 ms, and the network is late.
        late_ns = round(rng.choice([0, 5.3, 10.6]) * MS + rng.expovariate(1 / (2 * MS)))
        clock.add(clock_s, true_ns + late_ns)
        if step > 300:
            worst = max(worst, abs(clock.ns(clock_s) - true_ns))
    assert worst < 1 * MS


def test_the_clock_follows_a_page_that_stood_still() -> None:
    clock = PageClock()
    for step in range(1000):
        stood_ns = 700 * MS if step > 500 else 0
        clock.add(step / 100, step * 10 * MS + stood_ns)
    assert clock.ns(10.0) == 10_000 * MS + 700 * MS


def test_the_messages_of_a_page_are_read_and_checked() -> None:
    report = wire.PageReport(960, 1.5, 128, 2)
    assert wire.report(wire.encode_report(report)) == report
    block = wire.PageBlock(240, 0.01, b"\1\2" * 240)
    assert wire.block(wire.encode_block(block)) == block
    assert wire.decode_audio(wire.audio(12, b"ab")) == (12, b"ab")
    assert wire.about('{"type":"about","latency_ms":12.5}') == wire.About(latency_ms=12.5)


@pytest.mark.parametrize("data", [b"", b"\0" * 31, b"\0" * 33, b"\xff" * 32])
def test_a_bad_report_is_refused(data: bytes) -> None:
    with pytest.raises(wire.BadPage):
        wire.report(data)


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 17, b"\xff" * 18])
def test_a_bad_block_is_refused(data: bytes) -> None:
    with pytest.raises(wire.BadPage):
        wire.block(data)


@pytest.mark.parametrize("text", ["", "{}", '{"type":"about"}', '{"type":"about","latency_ms":-1}'])
def test_a_bad_text_is_refused(text: str) -> None:
    with pytest.raises(wire.BadPage):
        wire.about(text)
