"""A whole conversation: a greeting, a question, an answer that is talked over, and the next one.

The conversation runs once, with files as microphone and speaker and the emulator as server. The
tests compare the messages on the bus, the samples at the speaker, and the server's own account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness import recordings
from services.emulator.clips import Voice
from services.emulator.options import VOICE
from shared import messages, registry
from shared.audio import pcm
from tests.support.pipeline import UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

QUESTION_S, INTERRUPTION_S = 1.2, 4.5
FADE = pcm.ms_to_samples(3)


@dataclass
class Conversation:
    """Everything that the conversation left for the tests to look at."""

    pipeline: Pipeline
    directory: Path
    speaker: bytes  # all samples that the speaker was given, s16le
    flush_report: messages.FlushReport
    journal: list[dict[str, Any]]

    def noted(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of a kind in the emulator's journal."""
        return [entry for entry in self.journal if entry["kind"] == kind]


@pytest.fixture(scope="module")
def conversation(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """Run the conversation up to the first words after the interruption."""
    directory = tmp_path_factory.mktemp("conversation")
    said = [(QUESTION_S, recordings.QUESTION), (INTERRUPTION_S, recordings.THANKS)]
    microphone = recordings.microphone(directory / "person.wav", said, 10)
    journal = directory / "journal.jsonl"
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings |= {
            "capture.device": microphone,
            "playback.device": f"file:{directory / 'speaker.wav'}",
            "recorder.directory": directory,
            "session.greeting": "Greet the person.",
            # The tests compare the recording with what was said, sample by sample.
            "echo.enabled": False,
            "session.turn_detection.silence_duration_ms": 300,
        }
        # Half a second in each delta, so that a busy machine causes no gaps.
        pipeline.emulator(
            *("--journal", str(journal), "--pace", "8", "--delta-bytes", "24000"),
            *("--voice", recordings.short_greeting(directory / "voice")),
        )
        stages = pipeline.all_up("echo", "vad", "uplink", "downlink", "playback", "recorder")
        pipeline.stage("link")
        pipeline.meet()
        pipeline.stage("capture")
        flush_report = pipeline.bus.wait_for(messages.FlushReport, lambda s: s.items).message
        # The next reply is another item. Its first second is enough.
        pipeline.bus.wait_for(
            messages.Heard,
            lambda h: (
                h.items[-1].item_id != flush_report.items[-1].item_id
                and h.items[-1].heard > pcm.RATE
                if h.items
                else False
            ),
        )
        assert stages["playback"].end() == 0
        assert stages["recorder"].end() == 0
        yield Conversation(
            pipeline,
            directory,
            recordings.stream(pipeline.bus.all(messages.SpeakerFrame)),
            flush_report,
            [json.loads(line) for line in journal.read_text("utf-8").splitlines()],
        )


def items(conversation: Conversation) -> list[messages.HeardItem]:
    """Return the items in their order, with how far each was heard at the end."""
    last = {
        item.item_id: item
        for heard in conversation.pipeline.bus.all(messages.Heard)
        for item in heard.items
    }
    return list(last.values())


def test_a_whole_reply_is_heard_to_its_last_sample(conversation: Conversation) -> None:
    greeting = items(conversation)[0]
    said = recordings.clip("acknowledge")
    assert greeting.whole
    assert greeting.heard == greeting.received == len(said) // pcm.SAMPLE_BYTES
    recordings.place(said, conversation.speaker)


def test_the_question_is_answered(conversation: Conversation) -> None:
    assert [entry["says"] for entry in conversation.noted("reply")][:2] == [
        "acknowledge",
        "lighthouse",
    ]
    answer = conversation.flush_report.items[0].item_id
    texts = [t for t in conversation.pipeline.bus.all(messages.Transcript) if t.item_id == answer]
    assert texts[-1].final
    assert texts[-1].role == "assistant"
    whole = recordings.INDEX["clips"]["lighthouse"]["transcript"]
    assert whole.startswith(texts[-1].text.strip())
    assert all(after.text.startswith(before.text) for before, after in pairwise(texts[:-1]))


def test_the_speaker_falls_silent_where_it_says_it_did(conversation: Conversation) -> None:
    [cut] = conversation.flush_report.items
    said = recordings.clip("lighthouse")
    begin = recordings.place(recordings.clip("lighthouse", 0.5), conversation.speaker)
    sound = pcm.to_array(conversation.speaker)[begin:]
    answer = pcm.to_array(said)
    # The reply was cut in the middle, while the rest was still arriving.
    assert pcm.RATE < cut.heard < cut.received < len(answer)
    loud = cut.heard - FADE
    # Playback may have ducked it before, from the person's onset on.
    other = np.flatnonzero(sound[:loud] != answer[:loud])
    ducked = int(other[0]) if len(other) else loud
    assert loud - ducked < pcm.RATE // 2
    assert np.all(np.abs(sound[ducked:loud].astype(int)) <= np.abs(answer[ducked:loud].astype(int)))
    faded = np.abs(sound[loud : cut.heard].astype(int))
    unfaded = np.abs(answer[loud : cut.heard].astype(int))
    assert np.all(faded <= unfaded)
    assert faded.sum() < unfaded.sum()
    # After that the speaker is silent until the next reply.
    next_reply = recordings.place(recordings.clip("stopped", 0.5), conversation.speaker) - begin
    assert next_reply > cut.heard
    assert not sound[cut.heard : next_reply].any()


def test_the_hops_of_the_interruption_are_in_order(conversation: Conversation) -> None:
    [flush] = [f for f in conversation.pipeline.bus.all(messages.Flush) if f.active]
    flush_report = conversation.flush_report
    assert flush_report.generation == flush.generation
    assert flush_report.cause == flush.cause == "speech_started"
    assert (
        0
        < flush_report.event_ns
        < flush_report.flush_ns
        < flush_report.received_ns
        < flush_report.silent_ns
    )
    [record] = conversation.pipeline.bus.all(messages.Interruption)
    for name in ("generation", "session", "event_ns", "flush_ns", "received_ns", "silent_ns"):
        assert getattr(record, name) == getattr(flush_report, name)


def test_the_server_is_told_what_was_heard(conversation: Conversation) -> None:
    [cut] = conversation.flush_report.items
    heard_ms = pcm.samples_to_ms(cut.heard)
    [truncate] = conversation.noted("truncate")
    assert truncate["ok"]
    assert truncate["item_id"] == cut.item_id
    assert truncate["audio_end_ms"] == heard_ms
    assert truncate["heard"] == Voice(VOICE).say("lighthouse").heard(heard_ms)
    assert not conversation.noted("delete")
    [record] = conversation.pipeline.bus.all(messages.Interruption)
    [report] = record.reports
    assert (report.action, report.audio_end_ms) == ("truncate", heard_ms)
    # With these settings the server itself cancels the response.
    assert record.cancelled == []


def test_the_next_reply_is_heard_from_its_first_word(conversation: Conversation) -> None:
    said = conversation.noted("reply")[2]["says"]
    assert said.startswith("stopped+")
    at = recordings.place(recordings.clip("stopped", 0.5), conversation.speaker)
    # Everything after it counts as heard, except what was still queued at the end.
    followed = len(conversation.speaker) // pcm.SAMPLE_BYTES - at
    assert followed == pytest.approx(items(conversation)[-1].heard, abs=pcm.RATE // 4)


def test_nothing_went_wrong(conversation: Conversation) -> None:
    listener = conversation.pipeline.bus
    assert not any(subscriber.losses.refused for subscriber in listener.subscribers)
    assert {s.session for s in listener.all(messages.LinkState) if s.state == "open"} == {
        listener.all(messages.ServerEvent)[0].session
    }
    assert not [s for s in listener.all(messages.LinkState) if s.state == "waiting"]
    for stage in registry.STAGES:
        health = listener.all(messages.Health, topic=f"{stage}.health")[-1]
        assert health.ok
        faults = ("lost", "refused", "bad_events", "unknown_events", "error", "underruns", "gap")
        assert not {k: n for k, n in health.counters.items() if k.startswith(faults) and n}


def test_the_file_of_the_speaker_is_what_it_was_given(conversation: Conversation) -> None:
    written, rate = soundfile.read(conversation.directory / "speaker.wav", dtype="int16")
    assert rate == pcm.RATE
    frames = conversation.pipeline.bus.all(messages.SpeakerFrame)
    begin = frames[0].position
    said = pcm.to_array(conversation.speaker)
    np.testing.assert_array_equal(written[begin : begin + len(said)], said)


def test_the_recording_has_both_sides_in_time(conversation: Conversation) -> None:
    both, rate = soundfile.read(conversation.directory / "conversation.wav", dtype="int16")
    assert rate == pcm.RATE
    assert both.shape[1] == 2
    person, assistant = both[:, 0].tobytes(), both[:, 1].tobytes()
    listener = conversation.pipeline.bus
    spoken, heard = listener.all(messages.MicFrame), listener.all(messages.SpeakerFrame)
    # When each began, according to the bus: its first sample at the converter.
    question = pcm.from_array(recordings.spoken(recordings.QUESTION))
    asked = round(QUESTION_S * pcm.RATE) - spoken[0].position
    asked_ns = spoken[0].captured_ns + pcm.samples_to_ns(asked)
    answer = recordings.clip("lighthouse", 0.5)
    answered = recordings.place(answer, conversation.speaker)
    answered_ns = heard[0].played_ns + pcm.samples_to_ns(answered)
    # The same in the recording.
    between = recordings.place(answer, assistant) - recordings.place(question, person)
    assert between == pytest.approx(pcm.ns_to_samples(answered_ns - asked_ns), abs=pcm.FRAME)
    # The person talks over the answer, which ends within this time.
    over = recordings.place(pcm.from_array(recordings.spoken(recordings.THANKS)), person)
    end = recordings.place(answer, assistant) + conversation.flush_report.items[0].heard
    assert over < end < over + recordings.seconds(recordings.THANKS) * pcm.RATE


def test_the_record_of_the_recording_tells_of_the_interruption(
    conversation: Conversation,
) -> None:
    record = json.loads((conversation.directory / "conversation.json").read_bytes())
    [interruption] = record["interruptions"]
    assert interruption["generation"] == conversation.flush_report.generation
    # The time from the person's first word to the interruption is that of the recording.
    both, _ = soundfile.read(conversation.directory / "conversation.wav", dtype="int16")
    thanks = recordings.spoken(recordings.THANKS).tobytes()
    begun_s = recordings.place(thanks, both[:, 0].tobytes()) / pcm.RATE
    first = conversation.pipeline.bus.all(messages.MicFrame)[0]
    samples = round(INTERRUPTION_S * pcm.RATE) - first.position
    begun_ns = first.captured_ns + pcm.samples_to_ns(samples)
    after_s = (conversation.flush_report.event_ns - begun_ns) / 1e9
    assert interruption["at_ms"] / 1000 - begun_s == pytest.approx(after_s, abs=0.02)
    assert [t["role"] for t in record["transcripts"]] == ["assistant"] * 3
    for name in ("conversation.wav", "conversation.json"):
        assert (conversation.directory / name).stat().st_mode & 0o777 == 0o600
