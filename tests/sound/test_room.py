"""A loudspeaker on a real sound server, whose sound comes back into the microphone.

The room is PulseAudio's loopback from the speaker's monitor to the microphone. The echo is as loud
as a person. The assistant must not interrupt itself, and must still hear the person. With the
environment variable ROOM_S=120 the assistant speaks for two minutes before the person does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from harness import speech
from harness.pulse import SoundServer
from harness.soundbench import Pipeline, PipelineError
from harness.waves import RATE
from shared import messages

pytestmark = pytest.mark.sound

#: How long the assistant speaks alone, s.
ALONE_S = int(os.environ.get("ROOM_S", "10"))
REPLY = ("--reply", "clip:long")
SETTINGS = {"session.greeting": "Tell the story."}
#: The client decides about an interruption, so that the reply is always ducked before it is cut.
BY_CLIENT = {"interruption.decide": "client", "interruption.min_speech_ms": "250"}
#: The person's utterances, and how long to wait after each before the next one, s. The person may
#: have to repeat them: on a busy machine the speaker has underruns, each of which moves the echo,
#: and the canceller then needs a second to learn the echo again.
OBJECTIONS, PATIENCE_S = (1, 2, 3, 0), 5.0
#: The tolerance of a time at the speaker, in samples: 40 ms, for its buffers and the recording's
#: blocks.
SLACK = RATE // 25


@pytest.fixture(scope="module")
def open_speaker(sound_server: SoundServer) -> Iterator[SoundServer]:
    """Yield the sound server with a loopback from its speaker to its microphone."""
    module = sound_server.pactl(
        *("load-module", "module-loopback", "source=speaker.monitor", "sink=mic"),
        # Without adjustments: the loopback would change its rate to keep its latency, and a real
        # room does not do that.
        *("latency_msec=30", "adjust_time=0", "source_dont_move=true", "sink_dont_move=true"),
    )
    [loopback] = sound_server.pactl("list", "short", "sink-inputs").splitlines()
    sound_server.pactl("set-sink-input-volume", loopback.split()[0], "-6dB")
    yield sound_server
    sound_server.pactl("unload-module", module)


def alone(run: Pipeline, seconds: int) -> None:
    """Wait until the assistant has spoken for ``seconds``, or has interrupted itself."""
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
    """Let the person talk until the assistant is interrupted, and return the interruption."""
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
        # The speaker is silent at the time that the interruption states.
        assert abs(ear.sample_at(record.silent_ns / 1e9) - silent) < SLACK


def test_spoken_over_it_is_lowered_and_then_stops(open_speaker: SoundServer) -> None:
    with Pipeline(env=open_speaker.env, settings=SETTINGS | BY_CLIENT, emulator=REPLY) as run:
        alone(run, 3)
        # Ignore an interruption without an onset: the words of a transcript decided about it.
        record = spoken_over(run, open_speaker, lambda told: told.onset_ns > 0)
        assert 0 < record.onset_ns < record.ducked_ns < record.silent_ns
        assert record.cause == "judged"


def test_without_the_canceller_it_interrupts_itself(open_speaker: SoundServer) -> None:
    settings = SETTINGS | {"echo.enabled": "false"}
    with Pipeline(env=open_speaker.env, settings=settings, emulator=REPLY) as run:
        flush_report = run.bus.wait_for(messages.FlushReport, lambda s: bool(s.items))
        assert 0 < flush_report.items[0].heard < 15 * RATE
