"""Microphones that are none, on a real sound server: each is reported as what it is."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from harness.processes import end_process
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE
from shared import messages

pytestmark = pytest.mark.sound


def test_the_speakers_own_monitor(sound_server: SoundServer) -> None:
    with Pipeline(
        env=sound_server.env | {"PULSE_SOURCE": "speaker.monitor"},
        settings={"session.greeting": "Tell the story."},
        emulator=("--reply", "clip:long"),
        stages=("capture", "echo", "link", "downlink", "playback"),
    ) as run:
        # Uplink asks for the reply after 2 s of silence, in which the microphone gives zeros.
        run.bus.wait_for(
            messages.Health, lambda h: h.received["mic.frame"] > 100, topic="echo.health"
        )
        run.start_stage("uplink")
        health = run.bus.wait_for(messages.Health, lambda h: not h.ok, topic="echo.health")
        assert health.state == "the microphone is the speaker's own monitor"
        assert "Choose another one with capture.device" in run.log("echo")


def test_two_channels_in_opposite_phase_are_not_called_muted(sound_server: SoundServer) -> None:
    sink = ("sink_name=balanced", f"rate={RATE}", "channels=2", "format=s16le", "norewinds=1")
    module = sound_server.pactl("load-module", "module-null-sink", *sink)
    left = np.random.default_rng(1).integers(-9000, 9000, 20 * RATE).astype("<i2")
    raw = sound_server.directory / "balanced.raw"
    raw.write_bytes(np.stack((left, -left), axis=1).tobytes())
    player = subprocess.Popen(
        ["pacat", "--raw", "--device=balanced", f"--rate={RATE}", "--channels=2", str(raw)],
        env=sound_server.env,
    )
    try:
        with Pipeline(
            env=sound_server.env | {"PULSE_SOURCE": "balanced.monitor"},
            stages=("capture",),
            server="ws://127.0.0.1:9",
        ) as run:
            health = run.bus.wait_for(messages.Health, lambda h: not h.ok, topic="capture.health")
            assert health.state.startswith("two channels in opposite phase, ")
            assert "muted" not in run.log("capture")
    finally:
        end_process(player)
        sound_server.pactl("unload-module", module)
