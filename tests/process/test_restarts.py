"""If a stage is restarted during a conversation, the other stages and the session go on."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise, takewhile
from pathlib import Path

import pytest

from harness import recordings
from shared import messages, registry
from shared.audio import pcm
from tests.support.pipeline import UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

#: The person asks again every EVERY_S seconds, and so interrupts every answer.
EVERY_S = 1.8
#: Length of the microphone's recording in seconds: longer than the tests of this module take.
LENGTH_S = 240.0
#: Length of each answer in seconds: longer than EVERY_S, so that the person interrupts it.
REPLY_S = 8


@dataclass
class Talk:
    """A conversation that goes on through all tests of this module."""

    pipeline: Pipeline
    stages: dict[str, Child]
    session: int


@pytest.fixture(scope="module")
def talk(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """Begin a conversation, and wait until the first answer is heard."""
    directory = tmp_path_factory.mktemp("talk")
    times = takewhile(lambda at: at < LENGTH_S - EVERY_S, count(0.2, EVERY_S))
    said = [(at, recordings.QUESTION) for at in times]
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings |= {
            "capture.device": recordings.microphone(directory / "person.wav", said, LENGTH_S),
            # The person hardly pauses, so an echo canceller would have no time to learn the echo.
            "echo.enabled": False,
            "session.turn_detection.silence_duration_ms": 200,
            "session.turn_detection.prefix_padding_ms": 100,
        }
        pipeline.emulator("--reply", f"tone:{REPLY_S}", "--burst")
        stages = pipeline.all_up("echo", "vad", "uplink", "downlink", "playback")
        stages |= pipeline.all_up("link")
        session = pipeline.meet()
        stages |= pipeline.all_up("capture")
        heard_anew(pipeline)
        yield Talk(pipeline, stages, session)


def heard_anew(pipeline: Pipeline) -> messages.HeardItem:
    """Wait until 0.25 s of a new item were heard, and return the item."""
    known = {item.item_id for heard in pipeline.bus.all(messages.Heard) for item in heard.items}
    heard = pipeline.bus.wait_for(
        messages.Heard,
        lambda h: (
            h.items and h.items[-1].item_id not in known and h.items[-1].heard > pcm.RATE // 4
        ),
    )
    return heard.message.items[-1]


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("capture", signal.SIGTERM),
        ("echo", signal.SIGKILL),
        ("vad", signal.SIGKILL),
        ("uplink", signal.SIGKILL),
        ("downlink", signal.SIGKILL),
        ("playback", signal.SIGTERM),
        ("playback", signal.SIGKILL),
    ],
)
def test_the_next_turn_works_and_the_session_lives_on(talk: Talk, stage: str, number: int) -> None:
    pipeline = talk.pipeline
    now = pipeline.bus.now
    talk.stages[stage].end(number)
    talk.stages[stage] = pipeline.up(stage)
    kinds: dict[str, type[messages.Message]] = {"echo": messages.MicClean, "vad": messages.Speech}
    if kind := kinds.get(stage):
        # Echo publishes frames within 1 s of its restart, and vad when the person speaks next.
        back = pipeline.bus.wait_for(messages.Health, topic=f"{stage}.health", since=now)
        first = pipeline.bus.wait_for(kind, since=now)
        assert first.stamp.t - back.stamp.t < (1 if stage == "echo" else 1 + EVERY_S) * 1e9
    anew = heard_anew(pipeline)
    assert {s.session for s in pipeline.bus.all(messages.LinkState, since=now)} == {talk.session}
    # The person interrupts the next answer, and uplink reports this to the server.
    flush_report = pipeline.bus.wait_for(
        messages.FlushReport,
        lambda s: anew.item_id in [item.item_id for item in s.items],
        since=now,
    )
    record = pipeline.bus.wait_for(
        messages.Interruption, lambda r: r.generation == flush_report.message.generation, since=now
    ).message
    [cut] = [item for item in flush_report.message.items if item.item_id == anew.item_id]
    # The emulator sends the whole answer at once, and all of it arrived.
    assert cut.received == REPLY_S * pcm.RATE
    [told] = [report for report in record.reports if report.item_id == anew.item_id]
    assert told.action == "truncate"
    assert told.audio_end_ms == pcm.samples_to_ms(cut.heard)
    assert anew.heard <= cut.heard < EVERY_S * pcm.RATE
    for name in registry.STAGES:
        assert talk.stages[name].running


def test_the_server_hears_silence_for_what_an_echo_canceller_took_along(
    kept: Keeper, tmp_path: Path
) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        said = [(at, recordings.QUESTION) for at in (0.3, 3.3, 6.3, 9.3, 12.3)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "person.wav", said, 60),
            "session.turn_detection.silence_duration_ms": 200,
        }
        pipeline.emulator("--reply", "tone:1", "--burst")
        stages = pipeline.all_up("echo", "vad", "uplink", "downlink", "playback")
        stages |= pipeline.all_up("link")
        session = pipeline.meet()
        pipeline.up("capture")
        gone: dict[str, int] = {}
        back: dict[str, int] = {}
        for stage in ("echo", "vad"):
            heard_anew(pipeline)
            stages[stage].end(signal.SIGKILL)
            gone[stage] = time.monotonic_ns()
            stages[stage] = pipeline.up(stage)
            back[stage] = time.monotonic_ns()
        heard_anew(pipeline)
        uplink = pipeline.bus.health("uplink", since=pipeline.bus.now)
        heard = list(pipeline.bus.heard)
    clean = [d for d in heard if isinstance(d.message, messages.MicClean)]
    frames = [d.message for d in clean if isinstance(d.message, messages.MicClean)]
    # Echo publishes within 1 s of its restart. Vad publishes when the person speaks next, which is
    # up to 3 s later.
    speeches = [d for d in heard if isinstance(d.message, messages.Speech)]
    for stage, said_by, limit_s in (("echo", clean, 1), ("vad", speeches, 1 + 3)):
        epochs = list(dict.fromkeys(d.stamp.epoch for d in said_by))
        assert len(epochs) == 2
        first = next(d.stamp.t for d in said_by if d.stamp.epoch == epochs[1])
        assert first - back[stage] < limit_s * 1e9
    # No frame came twice, and the new echo published no frame from before the restart.
    new = [f for d, f in zip(clean, frames, strict=True) if d.stamp.epoch != clean[0].stamp.epoch]
    assert new[0].captured_ns > gone["echo"]
    assert all(before.position < after.position for before, after in pairwise(frames))
    missing = [after.position - before.position - pcm.FRAME for before, after in pairwise(frames)]
    assert 0 < sum(missing) < 2 * pcm.RATE
    # The server got silence of the same length in place of the missing frames.
    begin = frames[0].position
    microphone = bytearray((frames[-1].position + pcm.FRAME - begin) * pcm.SAMPLE_BYTES)
    for frame in frames:
        at = (frame.position - begin) * pcm.SAMPLE_BYTES
        microphone[at : at + len(frame.payload)] = frame.payload
    events = [d.message for d in heard if isinstance(d.message, messages.ClientEvent)]
    assert {event.session for event in events} == {session}
    appended = [json.loads(e.payload)["audio"] for e in events if b"append" in e.payload[:40]]
    given = [base64.b64decode(audio) for audio in appended]
    sent = b"".join(given)
    # The last second is left out: the test and uplink may not have received the same frames yet.
    recordings.place(sent[: -pcm.RATE], bytes(microphone))
    # Uplink counts the frames that uplink missed. They can differ from those that the test missed,
    # because each connects to the new echo at its own time.
    silences = [audio for audio in given if len(audio) != pcm.FRAME_BYTES]
    assert silences
    assert not any(map(any, silences))
    assert uplink.counters["frames_silent"] == sum(map(len, silences)) // pcm.FRAME_BYTES
