"""``bargein doctor`` on a sound server: its tones go through a speaker and a room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.pulse import SoundServer

pytestmark = pytest.mark.sound

ROOT = Path(__file__).parents[2]


def test_the_doctor_hears_its_tones_and_measures_their_way(
    sound_server: SoundServer, tmp_path: Path
) -> None:
    module = sound_server.pactl(
        *("load-module", "module-loopback", "source=speaker.monitor", "sink=mic"),
        *("latency_msec=60", "adjust_time=0"),
    )
    [loopback] = sound_server.pactl("list", "short", "sink-inputs").splitlines()
    sound_server.pactl("set-sink-input-volume", loopback.split()[0], "-12dB")
    report = tmp_path / "report.txt"
    bus = tmp_path / "bus"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "commands", "doctor", "--report", str(report)],
            # Nobody listens there: the checks of the server end at once.
            env={
                **sound_server.env,
                "BARGEIN_LINK__URL": "ws://127.0.0.1:9/v1/realtime",
                "BARGEIN_BUS__DIRECTORY": str(bus),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        sound_server.pactl("unload-module", module)
    said = {line.split()[1]: line for line in done.stdout.splitlines() if len(line.split()) > 2}
    assert said["connection"].startswith("FAULT")
    assert said["microphone"].startswith("ok"), done.stdout
    assert said["speaker"].startswith("ok")
    assert said["latency"].startswith("ok")
    assert 60 <= float(said["latency"].split()[2]) <= 150
    level_db = float(said["echo"].split(" dB")[0].split()[-1])
    assert -14 <= level_db <= -10
    assert done.returncode == 1
    assert str(tmp_path) not in report.read_text()
    assert report.stat().st_mode & 0o077 == 0
