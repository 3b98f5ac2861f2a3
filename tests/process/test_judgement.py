"""What the person's voice does to a reply, for each setting of `interruption.decide`; and the duck.

The microphone is a file and the server is the emulator. All stages between them are real.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness import recordings
from harness.proxy import Proxy
from shared import bus, messages, registry
from shared.audio import pcm
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

QUESTION_S, FIRST_S = 0.6, 4.0
SCRAPS, EVERY_S, SCRAP_MS = 8, 0.75, 240
STAGES = ("echo", "vad", "uplink", "downlink", "playback", "monitor")


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Yield a bus on which the tests only observe, so that a stage that starts misses nothing."""
    with Pipeline(kept, UNHELD) as made:
        made.settings |= {
            "echo.enabled": False,
            "vad.silence_ms": 150,
            "session.turn_detection.silence_duration_ms": 200,
            "session.turn_detection.prefix_padding_ms": 100,
        }
        yield made


class Button:
    """The button of push to talk, as ``bargein control`` presses it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, command: str) -> None:
        options = self._pipeline.options({})
        assert self._pipeline.python("commands.control", command, *options).wait() == 0


def scraps(path: Path) -> str:
    """Record a question, many short sounds and a sentence. Return the setting for the device."""
    last_s = FIRST_S + SCRAPS * EVERY_S + 0.5
    heard = np.zeros(round((last_s + 4) * pcm.RATE), np.int16)

    def put(at_s: float, samples: recordings.Samples) -> None:
        at = round(at_s * pcm.RATE)
        heard[at : at + len(samples)] = samples

    put(QUESTION_S, recordings.spoken(recordings.QUESTION))
    # the loudest part of a sentence: vad is sure to take it for a voice
    said = recordings.spoken(recordings.THANKS)
    length = pcm.ms_to_samples(SCRAP_MS)
    starts = range(0, len(said) - length, pcm.FRAME)
    begin = max(starts, key=lambda at: float(np.abs(said[at : at + length]).mean()))
    ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 480)
    for number in range(SCRAPS):
        put(FIRST_S + number * EVERY_S, (said[begin : begin + length] * ramp).astype(np.int16))
    put(last_s, recordings.spoken(recordings.WAIT))
    soundfile.write(path, heard, pcm.RATE, subtype="PCM_16")
    return f"file:{path}"


def events(
    pipeline: Pipeline, kind: type[messages.ClientEvent | messages.ServerEvent]
) -> list[dict[str, Any]]:
    """Return the events that were sent to the server, or came from it."""
    return [json.loads(event.payload) for event in pipeline.bus.all(kind)]


def named(
    pipeline: Pipeline, kind: type[messages.ClientEvent | messages.ServerEvent], name: str
) -> list[str]:
    """Return the item ids of the events of one name, "" for an event without one."""
    return [e.get("item_id", "") for e in events(pipeline, kind) if e["type"] == name]


def test_short_sounds_end_no_sentence_and_leave_the_conversation(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.settings |= {
        "capture.device": scraps(tmp_path / "person.wav"),
        "interruption.decide": "client",
    }
    journal = tmp_path / "journal.jsonl"
    pipeline.emulator("--reply", "tone:60", "--burst", "--journal", str(journal))
    pipeline.all_up(*STAGES)
    pipeline.up("link")
    pipeline.meet()
    pipeline.stage("capture")
    record = pipeline.bus.wait_for(messages.Interruption, patience=60).message
    asked = "response.create"
    pipeline.bus.wait_for(messages.Heard, lambda h: len(h.items) > 1 and h.items[-1].heard > 0)
    # the sentence interrupts, and none of the short sounds before it did
    [cut] = record.reports
    assert cut.heard_ms > (SCRAPS * EVERY_S) * 1000
    assert record.cause == "judged"
    flushes = pipeline.bus.all(messages.Flush)
    assert flushes[0].generation == record.generation
    # before it was decided, the reply was lowered for the voice
    assert 0 < record.onset_ns < record.ducked_ns < record.event_ns <= record.flush_ns
    # of the turns that the server heard before, only the question is left in the conversation
    said = pipeline.bus.deliveries(messages.ServerEvent)
    before = [json.loads(d.message.payload) for d in said if d.stamp.t < record.event_ns]
    committed = [e["item_id"] for e in before if e["type"] == "input_audio_buffer.committed"]
    deleted = named(pipeline, messages.ServerEvent, "conversation.item.deleted")
    assert len(committed) >= SCRAPS // 2, "the server did not hear them"
    assert set(committed) - set(deleted) == {committed[0]}
    # the sentence stays in the conversation, and is answered
    turns = named(pipeline, messages.ServerEvent, "input_audio_buffer.committed")
    assert turns[len(committed)] not in deleted
    assert len([e for e in events(pipeline, messages.ClientEvent) if e["type"] == asked]) >= 2
    assert not [e for e in events(pipeline, messages.ServerEvent) if e["type"] == "error"]
    # nearly every short sound was heard, and judged to let the reply go on
    counters = pipeline.bus.health("downlink", since=pipeline.bus.now).counters
    assert counters["scraps"] >= SCRAPS - 2
    entries = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    cuts = [e for e in entries if e["kind"] == "truncate"]
    assert cuts[0]["ok"]
    assert cuts[0]["audio_end_ms"] == cut.audio_end_ms
    for child in pipeline.children:
        assert not child.matching(" E | the server says")


def test_the_button_opens_the_microphone_and_its_release_asks_for_the_answer(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    said = [(at, recordings.QUESTION) for at in (0.1, 2.6, 5.1, 7.6, 10.1)]
    pipeline.settings |= {
        "capture.device": recordings.microphone(tmp_path / "person.wav", said, 30),
        "interruption.decide": "push_to_talk",
    }
    pipeline.emulator("--reply", "tone:30", "--burst")
    pipeline.all_up(*STAGES)
    pipeline.up("link")
    pipeline.meet()
    pipeline.up("capture")
    pipeline.bus.wait_for(messages.Speech, lambda s: s.speaking)

    button = Button(pipeline)

    def sent() -> list[str]:
        told = [e["type"] for e in events(pipeline, messages.ClientEvent)]
        # the names in order, repetitions left out
        return [b for a, b in pairwise(["", *told]) if a != b]

    held = pipeline.bus.health("uplink", lambda h: h.counters.get("frames_outside_turn", 0) > 20)
    assert "frames_sent" not in held.counters
    button("talk")
    pipeline.bus.wait_for(messages.ClientEvent, lambda e: b"append" in e.payload)
    pipeline.bus.health("uplink", lambda h: h.counters.get("frames_sent", 0) > 10)
    button("release")
    heard = pipeline.bus.wait_for(
        messages.Heard, lambda h: h.items and h.items[-1].heard > pcm.RATE
    )
    begun = ["input_audio_buffer.clear", "input_audio_buffer.append", "input_audio_buffer.commit"]
    assert sent() == [*begun, "response.create"]
    # a second press interrupts; speech without the button does not
    assert not pipeline.bus.all(messages.Flush)[1:]
    button("talk")
    record = pipeline.bus.wait_for(messages.Interruption).message
    assert record.cause == "control"
    assert record.reports[0].item_id == heard.message.items[-1].item_id
    assert record.ducked_ns == record.onset_ns == 0
    # if the button is released at once, there is nothing to commit
    now = pipeline.bus.now
    frozen = [c for c in pipeline.children if c.name == "services.capture"]
    frozen[0].process.send_signal(19)
    pipeline.bus.wait_for(messages.Health, topic="uplink.health", since=now)
    button("release")
    button("talk")
    now = pipeline.bus.now
    button("release")
    pipeline.bus.wait_for(messages.ClientEvent, lambda e: b"buffer.clear" in e.payload, since=now)
    frozen[0].process.send_signal(18)
    errors = [e["error"] for e in events(pipeline, messages.ServerEvent) if e["type"] == "error"]
    # A response may end while the request to cancel it is on its way.
    assert [e for e in errors if e["code"] != "response_cancel_not_active"] == []


def test_a_turn_that_no_server_got_is_answered_by_the_next_session(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """The connection breaks without a sign, and link notices after the button was released."""
    said = [(0.1, recordings.QUESTION)]
    pipeline.settings |= {
        "capture.device": recordings.microphone(tmp_path / "person.wav", said, 30),
        "interruption.decide": "push_to_talk",
        "session.transcription_model": "whisper-1",
        "link.ping_interval_s": 0.3,
        "link.pong_timeout_s": 1.2,
    }
    pipeline.emulator("--reply", "tone:0.5", "--burst")
    with Proxy(str(pipeline.settings["link.url"])) as proxy:
        pipeline.settings["link.url"] = proxy.url
        pipeline.all_up(*STAGES)
        pipeline.up("link")
        pipeline.meet()
        pipeline.up("capture")
        button = Button(pipeline)
        button("talk")
        pipeline.bus.health("uplink", lambda h: h.counters.get("frames_sent", 0) > 60)
        proxy.freeze()
        button("release")
        committed = pipeline.bus.wait_for(messages.ClientEvent, lambda e: b".commit" in e.payload)
        answer = pipeline.bus.wait_for(
            messages.Transcript, lambda t: t.role == "assistant" and t.final
        ).message
        assert answer.session > committed.message.session
        pipeline.bus.wait_for(messages.Heard, lambda h: h.items and h.items[-1].whole)
        now = pipeline.bus.now
        pipeline.bus.health("uplink", since=now)
    new = [
        json.loads(e.payload)["type"]
        for e in pipeline.bus.all(messages.ClientEvent)
        if e.session == answer.session
    ]
    assert new.count("input_audio_buffer.commit") == new.count("response.create") == 1
    # The server heard the person's words as they were.
    [heard] = [
        t
        for t in pipeline.bus.all(messages.Transcript)
        if t.role == "user" and t.session == answer.session and t.final
    ]
    assert heard.text.strip()
    told = [e["type"] for e in events(pipeline, messages.ServerEvent)]
    assert told.count("response.created") == 1


def test_a_reply_that_nothing_interrupts_is_spoken_to_its_end(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    said = [(0.6, recordings.QUESTION), (4.0, recordings.THANKS)]
    pipeline.settings |= {
        "capture.device": recordings.microphone(tmp_path / "person.wav", said, 20),
        "interruption.decide": "never",
    }
    pipeline.emulator("--reply", "tone:6")
    pipeline.all_up(*STAGES)
    pipeline.up("link")
    pipeline.meet()
    pipeline.stage("capture")
    heard = pipeline.bus.wait_for(
        messages.Heard, lambda h: len(h.items) > 1 and h.items[1].heard > 0
    )
    assert heard.message.items[0].whole
    assert not pipeline.bus.all(messages.Flush) + pipeline.bus.all(messages.FlushReport)
    started = "input_audio_buffer.speech_started"
    assert len(named(pipeline, messages.ServerEvent, started)) >= 2
    assert not [e for e in events(pipeline, messages.ServerEvent) if e["type"] == "error"]
    assert not pipeline.bus.health("playback", since=pipeline.bus.now).counters.get("ducks")


class Vad:
    """A voice detector whose reports the test writes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._publisher = bus.Publisher("vad", pipeline.bus_directory)
        deadline = time.monotonic() + PATIENCE_S
        while "mic.speech" not in self._publisher.welcome():
            assert time.monotonic() < deadline, "nobody listens"
            threading.Event().wait(0.01)

    def say(self, *, speaking: bool, at_ns: int = 0) -> int:
        """Report that the person speaks or not, since ``at_ns`` or now. Return the time, ns."""
        at_ns = at_ns or time.monotonic_ns()
        return self._publisher.publish(messages.Speech(speaking=speaking, at_ns=at_ns))

    def close(self) -> None:
        self._publisher.close()


@pytest.mark.parametrize("how", ["lower", "pause"])
def test_the_reply_makes_way_at_once_and_nothing_of_it_is_lost(
    pipeline: Pipeline, how: str
) -> None:
    pipeline.settings |= {
        "session.greeting": "Tell a long story.",
        "interruption.duck": how,
        "interruption.duck_limit_ms": 600,
    }
    pipeline.emulator("--reply", "clip:long", "--burst")
    pipeline.all_up("uplink", "downlink", "playback")
    vad = Vad(pipeline)
    pipeline.up("link")
    pipeline.bus.wait_for(messages.Heard, lambda h: h.items and h.items[0].heard > pcm.RATE)
    told_ns = vad.say(speaking=True)
    pipeline.bus.wait_for(
        messages.SpeakerFrame, lambda f: f.played_ns > told_ns + 1_500_000_000, patience=PATIENCE_S
    )
    last = pipeline.bus.wait_for(messages.Heard, since=pipeline.bus.now)
    pipeline.bus.wait_for(messages.SpeakerFrame, lambda f: f.played_ns > last.stamp.t + 100_000_000)
    frames = pipeline.bus.all(messages.SpeakerFrame)
    vad.close()
    stream = recordings.stream(frames)
    sound = pcm.to_array(stream).astype(float)
    clip = pcm.to_array(recordings.clip("long", 20)).astype(float)
    begin = recordings.place(recordings.clip("long", 0.5), stream)
    onset = pcm.ns_to_samples(told_ns - frames[0].played_ns)
    given, said = sound[begin:], clip[: len(sound) - begin]
    loud = np.abs(said) > 1000
    lowered = np.flatnonzero((np.abs(given[: len(said)]) < np.abs(said) * 0.5) & loud) + begin
    # the reply is lowered within a few of the device's buffers
    assert 0 < lowered[0] - onset < pcm.ms_to_samples(100)
    if how == "lower":
        back = lowered[-1]
        middle = slice(onset - begin + pcm.RATE // 10, back - begin - pcm.RATE // 5)
        ratio = np.abs(given[middle]).sum() / np.abs(said[middle]).sum()
        assert 20 * np.log10(ratio) == pytest.approx(-15, abs=0.5)
        # after that each sample is at its place and at its full level
        after = slice(back - begin + pcm.RATE // 5, None)
        np.testing.assert_array_equal(given[: len(said)][after], said[after])
        assert (back - onset) / pcm.RATE == pytest.approx(0.6, abs=0.25)
    else:
        # a silence as long as the limit
        sounding = np.flatnonzero(given)
        gaps = np.diff(sounding)
        gap = int(gaps.max())
        assert (gap - 1) / pcm.RATE == pytest.approx(0.6, abs=0.25)
        # after the silence the reply goes on where it was; the ends of both ramps may be silent
        resumed = int(sounding[np.argmax(gaps)]) + gap + pcm.RATE // 5
        follows = given[resumed : resumed + 4800]
        # if the held audio is silent itself, the gap is longer than the pause
        near = range(resumed - gap - 20, resumed - pcm.ms_to_samples(400))
        [at] = [at for at in near if np.array_equal(follows, clip[at : at + 4800])]
        missing = resumed - at
    counters = pipeline.bus.health("playback", since=pipeline.bus.now).counters
    assert counters["ducks"] == 1
    assert [counters[n] for n in ("underruns", "stale_samples", "gap_samples")] == [0, 0, 0]
    assert not pipeline.bus.all(messages.Flush)
    # the playhead counts the samples that the device was given, without the pause
    [item] = last.message.items
    paused = missing if how == "pause" else 0
    assert item.heard <= len(given) - paused < item.heard + pcm.RATE // 2


def test_the_stages_of_these_tests_are_those_of_a_conversation() -> None:
    assert {*STAGES, "link", "capture"} == {*registry.STAGES, "monitor"}
