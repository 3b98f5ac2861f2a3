"""The stage capture with a stand-in device and bus: levels, clipping, and no sound at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from services.capture.__main__ import Capture
from shared import config
from shared.audio import devices, pcm
from shared.stage import Stage
from tests.support.standin import StageStandIn

pytestmark = pytest.mark.unit


class Microphone:
    """A device whose sound the test provides."""

    rate, latency_ns, overflows = pcm.RATE, 0, 0

    def __init__(self, description: str) -> None:
        self.description = description
        self.channels: str | None = None  # what is wrong with them

    def start(self, block: Callable[[bytes, int, bool], None]) -> None:
        self._block = block

    def give(self, samples: object) -> None:
        self._block(np.asarray(samples, "<i2").tobytes(), time.monotonic_ns(), False)

    def stop(self) -> None:
        pass

    def failure(self) -> str | None:
        return None

    def fault(self) -> str | None:
        return self.channels


class Rig:
    """Capture with a microphone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, description: str) -> None:
        self.microphone = Microphone(description)
        monkeypatch.setattr(devices, "open_input", lambda _spec, _channel, _page: self.microphone)
        self.bus = StageStandIn()
        Capture(cast("Stage", self.bus))

    def well(self) -> bool:
        return self.bus.ok

    def second(self, samples: object) -> None:
        """Let a second pass in which the microphone repeats these samples."""
        given = np.resize(np.asarray(samples, "<i2"), pcm.RATE)
        for block in given.reshape(50, -1):
            self.microphone.give(block)
        self.bus.tick()


def test_its_level_is_in_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, "portaudio 0 'loud'")
    rig.second([3277, -3277])
    assert rig.bus.state == "-20 dBFS, peak -20, portaudio 0 'loud'"
    assert rig.bus.ok
    assert rig.bus.warnings == []
    assert len(rig.bus.published) == 50


def test_clipping_is_counted_and_reported_once_when_it_is_more_than_occasional(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, "portaudio 0 'loud'")
    for _ in range(2):
        rig.second([32767, 0, 0, 0])
    assert rig.bus.counters["clipped_samples"] == pcm.RATE // 2
    assert rig.bus.warnings == []
    assert rig.well()
    for _ in range(3):
        rig.second([32767, 0, 0, 0])
    (warning,) = rig.bus.warnings
    assert "Lower its level" in warning
    assert not rig.well()
    assert rig.bus.state == "clips, 0 dBFS, peak 0, portaudio 0 'loud'"
    for _ in range(10):
        rig.second([3277, -3277])
    assert rig.well()
    assert rig.bus.logged[-1] == "the microphone has stopped clipping"


@pytest.mark.parametrize("description", ["portaudio 0 'line'", "file '/tmp/a.wav', 24000 Hz"])
def test_two_channels_in_opposite_phase_are_reported_as_that(
    monkeypatch: pytest.MonkeyPatch, description: str
) -> None:
    rig = Rig(monkeypatch, description)
    rig.microphone.channels = "the two channels cancel each other: set capture.channel = 1"
    for _ in range(5):
        rig.second([0])
    assert not rig.well()
    assert rig.bus.state.startswith("two channels in opposite phase, ")
    assert rig.bus.warnings == [rig.microphone.channels]
    assert rig.bus.counters["opposite_phase_s"] == 5
    assert "dead_s" not in rig.bus.counters


def test_the_channel_that_is_set_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_input(spec: str, channel: int, _page: object) -> Microphone:
        asked.append((spec, channel))
        return Microphone(spec)

    monkeypatch.setattr(devices, "open_input", open_input)
    settings = config.Config(capture=config.Capture(device="portaudio:array", channel=5))
    Capture(cast("Stage", StageStandIn(settings)))
    assert asked == [("portaudio:array", 5)]


def test_a_microphone_without_any_sound_is_not_well_until_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, "portaudio 0 'muted'")
    for _ in range(2):
        rig.second([0])
        assert rig.well()
    rig.second([0])
    assert not rig.well()
    assert rig.bus.state.startswith("no sound from the microphone")
    assert "Is it muted" in rig.bus.warnings[0]
    rig.second([0, 1])
    assert rig.well()
    assert rig.bus.logged[-1] == "the microphone is heard again"
    assert "portaudio 0 'muted'" in rig.bus.state


@pytest.mark.parametrize("description", ["file '/tmp/a.wav', 24000 Hz", "null: silence"])
def test_a_recording_may_be_silent(monkeypatch: pytest.MonkeyPatch, description: str) -> None:
    rig = Rig(monkeypatch, description)
    for _ in range(5):
        rig.second([0])
    assert rig.bus.ok
