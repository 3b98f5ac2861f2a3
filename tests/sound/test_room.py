"""An open speaker on a real sound server: what it plays comes back into the microphone.

The room is PulseAudio's loopback from the speaker's monitor to the microphone, as loud there as a
person is. The assistant must not hear itself in it, and must still hear the person. ROOM_S=120
lets it speak for two minutes before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from harness import speech
from harness.pulse import RATE, SoundServer
from harness.soundbench import Pipeline, PipelineError
from shared import messages

pytestmark = pytest.mark.sound

#: So long the assistant has the word, s.
ALONE_S = int(os.environ.get("ROOM_S", "10"))
REPLY = ("--reply", "clip:long")
SETTINGS = {"session.greeting": "Tell the story."}
#: Here it is surely lowered before: what cuts it off is judged by what lowered it.
BY_CLIENT = {"interruption.decide": "client", "interruption.min_speech_ms": "250"}
#: Who is not heard says it again: on a busy machine the speaker runs empty, and each time the echo
#: has moved and is learnt anew for a second.
OBJECTIONS, PATIENCE_S = (1, 2, 3, 0), 5.0
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


def alone(run: Pipeline, seconds: int) -> None:
    """Let the assistant speak for so long, or until it interrupts itself."""
    enough = seconds * RATE
    run.bus.wait_for(
        messages.Heard,
        lambda h: bool(h.items) and (h.items[0].cut or h.items[0].heard > enough),
        timeout=seconds + 20,
    )


def spoken_over(
    run: Pipeline,
    room: SoundServer,
    wanted: Callable[[messages.Interruption], bool] = lambda _: True,
) -> messages.Interruption:
    """Talk until it is interrupted."""
    for number in OBJECTIONS[:-1]:
        room.play(speech.person(number))
        with contextlib.suppress(PipelineError):
            return run.bus.wait_for(messages.Interruption, wanted, timeout=PATIENCE_S)
    room.play(speech.person(OBJECTIONS[-1]))
    return run.bus.wait_for(messages.Interruption, wanted)


@pytest.mark.timeout(ALONE_S + 90)
def test_it_does_not_hear_itself_and_hears_the_person(open_speaker: SoundServer) -> None:
    with (
        open_speaker.record() as ear,
        Pipeline(env=open_speaker.env, settings=SETTINGS, emulator=REPLY) as run,
    ):
        alone(run, ALONE_S)
        assert run.bus.all(messages.Flush) == []
        assert run.bus.all(messages.FlushReport) == []
        counters = run.bus.all(messages.Health, "echo.health")[-1].counters
        assert counters["removed_db"] > 10
        record = spoken_over(run, open_speaker)
        recording = ear.wait_for(lambda heard: not heard[-RATE // 2 :].any(), what="silence")
        silent = int(np.flatnonzero(recording)[-1])
        # it is silent where it says so
        assert abs(ear.sample_at(record.silent_ns / 1e9) - silent) < SLACK


def test_spoken_over_it_is_lowered_and_then_stops(open_speaker: SoundServer) -> None:
    with Pipeline(env=open_speaker.env, settings=SETTINGS | BY_CLIENT, emulator=REPLY) as run:
        alone(run, 3)
        # what is judged late, by the words of a transcript, has no onset: not asked for here
        record = spoken_over(run, open_speaker, lambda told: told.onset_ns > 0)
        assert 0 < record.onset_ns < record.ducked_ns < record.silent_ns
        assert record.cause == "judged"


def test_without_the_canceller_it_interrupts_itself(open_speaker: SoundServer) -> None:
    settings = SETTINGS | {"echo.enabled": "false"}
    with Pipeline(env=open_speaker.env, settings=settings, emulator=REPLY) as run:
        flush_report = run.bus.wait_for(messages.FlushReport, lambda s: bool(s.items))
        assert 0 < flush_report.items[0].heard < 15 * RATE
