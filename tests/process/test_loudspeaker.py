"""Conversations on an open loudspeaker: the microphone hears the assistant.

All stages are the real ones, with their default settings. Only the air is simulated: the room is
``tests/support/room.py``, and its noises are those of ``harness/noises.py``.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import recordings, rooms
from harness.noises import noises
from shared import messages
from shared.audio import pcm
from tests.support import room
from tests.support.pipeline import UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

STAGES = ("echo", "vad", "uplink", "downlink", "playback")
#: When the first noise comes, and the time between two noises, in seconds. Echo has learnt the room
#: after 4 s.
FIRST_S, EVERY_S = 4.0, 1.3
#: The level of the echo beside a person's voice, dB.
ECHO_DB = -5.0
#: Echo is restarted after so much of the reply, in seconds: it has learnt the room by then.
RESTART_S = 9.0
#: How long the assistant speaks alone, in seconds.
ALONE_S = 22.0
NOISES = noises(0)
SENTENCES = 3
#: The first sentence comes after the noises.
SENTENCE_S = FIRST_S + EVERY_S * len(NOISES) + 0.5
#: How much of the last answer is heard, in seconds. An item of its echo would be committed by then.
ANSWER_S = 2.0
#: At least so many noises are taken for a voice. Otherwise the test would prove nothing.
NOTICED = 3


@dataclass
class Talk:
    """A conversation in a room."""

    pipeline: Pipeline
    air: Child
    stages: dict[str, Child]

    def events(self, name: str, since_ns: int = 0, until_ns: int = 2**63) -> list[dict[str, Any]]:
        """Return the server's events of a type that were published within a time, ns."""
        said = self.pipeline.bus.deliveries(messages.ServerEvent)
        events = [json.loads(d.message.payload) for d in said if since_ns <= d.stamp.t < until_ns]
        return [event for event in events if event["type"] == name]

    def counters(self, stage: str) -> dict[str, int]:
        """Return a stage's current counters."""
        bus = self.pipeline.bus
        return bus.health(stage, since=bus.now).counters


@contextlib.contextmanager
def talk(
    kept: Keeper, directory: Path, person: list[rooms.Sound], **settings: object
) -> Iterator[Talk]:
    """Start all stages in a room, and let the assistant begin to tell a story."""
    story = pcm.to_array(recordings.clip("long", 10))
    file = directory / "room.npz"
    room.furnish(file, story, person, echo_db=ECHO_DB)
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings |= {"session.greeting": "Tell a long story.", **settings}
        pipeline.emulator("--reply", "clip:long", "--burst")
        air = pipeline.python(
            "tests.support.room", *pipeline.options({"capture.device": f"file:{file}"})
        )
        stages = pipeline.all_up(*STAGES)
        pipeline.ready("capture", air)
        pipeline.up("link")
        pipeline.meet()
        yield Talk(pipeline, air, stages)


@pytest.fixture(scope="module")
def talks(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Talk]]:
    """Hold two conversations at the same time, because both last long and need little CPU."""
    sentences = [rooms.person(1 + number) for number in range(SENTENCES)]
    sounds = [(FIRST_S + EVERY_S * number, noise.sound) for number, noise in enumerate(NOISES)]
    first = room.together([*sounds, (SENTENCE_S, sentences[0])])
    alone = room.together([(ALONE_S, rooms.person(1))])
    with (
        talk(
            kept,
            tmp_path_factory.mktemp("client"),
            [first, *sentences[1:]],
            **{"interruption.decide": "client"},
        ) as client,
        talk(kept, tmp_path_factory.mktemp("server"), [alone]) as server,
    ):
        yield {"client": client, "server": server}


def test_it_does_not_hear_itself_and_is_talked_over(talks: dict[str, Talk]) -> None:
    run = talks["server"]
    bus = run.pipeline.bus
    # a canceller that is restarted in the middle of the reply has to learn the room again
    bus.wait_for(messages.Heard, lambda h: h.items and h.items[0].heard > RESTART_S * pcm.RATE)
    run.stages["echo"].end(signal.SIGKILL)
    run.stages["echo"] = run.pipeline.up("echo")
    record = bus.wait_for(messages.Interruption, patience=ALONE_S + 20).message
    # while nobody spoke, the assistant did not interrupt itself, not even after the restart
    [report] = record.reports
    assert report.heard_ms > ALONE_S * 1000
    assert record.cause == "speech_started"
    assert [flush.generation for flush in bus.all(messages.Flush)] == [record.generation]
    # the reply was lowered before it fell silent, unless the server's event came first
    assert record.event_ns < record.silent_ns
    assert not record.ducked_ns or record.onset_ns < record.ducked_ns <= record.silent_ns
    healths = bus.all(messages.Health, topic="echo.health")
    assert max(h.counters.get("removed_db", 0) for h in healths) > 10
    assert not run.counters("capture").get("too_late")


def test_noises_end_no_sentence_and_leave_the_conversation(talks: dict[str, Talk]) -> None:
    run = talks["client"]
    bus = run.pipeline.bus
    bus.wait_for(
        messages.Interruption,
        lambda _: len(bus.all(messages.Interruption)) >= SENTENCES,
        patience=SENTENCE_S + 40,
    )
    # each sentence interrupts, and nothing else does
    cuts = bus.all(messages.Interruption)
    assert [cut.cause for cut in cuts] == ["judged"] * SENTENCES
    begun_ns = next(f.played_ns for f in bus.all(messages.SpeakerFrame) if any(f.payload))
    onset_s = (cuts[0].onset_ns - begun_ns) / 1e9
    assert SENTENCE_S - 0.2 < onset_s < SENTENCE_S + len(rooms.person(1)) / pcm.RATE
    assert cuts[0].reports[0].heard_ms > SENTENCE_S * 1000
    assert all(0 < cut.onset_ns < cut.event_ns <= cut.flush_ns for cut in cuts)
    # a sentence lowers the reply first, unless the interruption came sooner
    lowered = [cut for cut in cuts if cut.ducked_ns]
    assert lowered
    assert all(cut.onset_ns < cut.ducked_ns < cut.event_ns for cut in lowered)
    # many noises were taken for a voice, by vad and by the server
    counters = run.counters("downlink")
    assert counters["scraps"] >= NOTICED
    assert run.counters("playback")["ducks"] >= NOTICED + SENTENCES
    first = cuts[0].event_ns
    of_noises = [e["item_id"] for e in run.events("input_audio_buffer.committed", 0, first)]
    assert len(of_noises) >= NOTICED // 2
    # none of the noises is left in the conversation
    deleted = [e["item_id"] for e in run.events("conversation.item.deleted")]
    assert set(of_noises) <= set(deleted)
    # each sentence is answered and stays in the conversation, and no answer hears itself
    cut = {report.item_id for each in cuts for report in each.reports}
    bus.wait_for(
        messages.Heard,
        lambda h: any(i.item_id not in cut and i.heard > ANSWER_S * pcm.RATE for i in h.items),
    )
    turns = [e["item_id"] for e in run.events("input_audio_buffer.committed", first)]
    assert set(turns).isdisjoint(deleted)
    assert len(turns) == SENTENCES
    assert not run.events("error")
    assert not run.counters("capture").get("too_late")


def test_without_the_canceller_it_interrupts_itself(kept: Keeper, tmp_path: Path) -> None:
    with talk(kept, tmp_path, [], **{"echo.enabled": False}) as run:
        flush_report = run.pipeline.bus.wait_for(
            messages.FlushReport, lambda s: bool(s.items)
        ).message
        assert 0 < flush_report.items[0].heard < ALONE_S / 2 * pcm.RATE
