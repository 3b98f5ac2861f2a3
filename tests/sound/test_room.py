"""An open speaker on a real sound server: what it plays comes back into the microphone.

The room is PulseAudio's loopback from the speaker's monitor to the microphone, as loud there as a
person is. The assistant must not hear itself in it, and must still hear the person. ROOM_S=120
lets it speak for two minutes before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from shared import messages as m
from tests.sound import speech
from tests.sound.pipeline import Pipeline
from tests.sound.pulse import RATE, SoundServer

pytestmark = pytest.mark.sound

#: So long the assistant has the word, s.
ALONE_S = int(os.environ.get("ROOM_S", "15"))
REPLY = ("--reply", "clip:long")
SETTINGS = {"session.greeting": "Tell the story."}
OBJECTION = 1
#: What the speaker's buffers and the recording's steps may differ by.
SLACK = RATE // 25


@pytest.fixture(scope="module")
def open_speaker(sound_server: SoundServer) -> Iterator[SoundServer]:
    """Give the sound server a room."""
    module = sound_server.pactl(
        *("load-module", "module-loopback", "source=speaker.monitor", "sink=mic"),
        # a loopback that keeps its latency by changing its rate would be a room that stretches
        *("latency_msec=30", "adjust_time=0", "source_dont_move=true", "sink_dont_move=true"),
    )
    [loopback] = sound_server.pactl("list", "short", "sink-inputs").splitlines()
    sound_server.pactl("set-sink-input-volume", loopback.split()[0], "-6dB")
    yield sound_server
    sound_server.pactl("unload-module", module)


@pytest.mark.timeout(ALONE_S + 90)
def test_it_does_not_hear_itself_and_hears_the_person(open_speaker: SoundServer) -> None:
    with (
        open_speaker.record() as ear,
        Pipeline(env=open_speaker.env, settings=SETTINGS, emulator=REPLY) as run,
    ):
        enough = ALONE_S * RATE
        run.bus.wait_for(
            m.Heard, lambda h: bool(h.items) and h.items[0].heard > enough, timeout=ALONE_S + 20
        )
        assert run.bus.all(m.Flush) == []
        assert run.bus.all(m.Silenced) == []
        counters = run.bus.all(m.Health, "echo.health")[-1].counters
        assert counters["removed_db"] > 10
        open_speaker.play(speech.person(OBJECTION))
        record = run.bus.wait_for(m.Interruption)
        recording = ear.wait_for(lambda heard: not heard[-RATE // 2 :].any(), what="silence")
        ducked = ear.sample_at(record.ducked_ns / 1e9)
        silent = int(np.flatnonzero(recording)[-1])
    # lowered first, and then cut
    assert 0 < record.onset_ns < record.ducked_ns < record.silent_ns
    assert ducked < silent
    # and it is silent where it says so
    assert abs(ear.sample_at(record.silent_ns / 1e9) - silent) < SLACK


def test_without_the_canceller_it_interrupts_itself(open_speaker: SoundServer) -> None:
    settings = SETTINGS | {"echo.enabled": "false"}
    with Pipeline(env=open_speaker.env, settings=settings, emulator=REPLY) as run:
        silenced = run.bus.wait_for(m.Silenced, lambda s: bool(s.items))
        assert 0 < silenced.items[0].heard < 15 * RATE
