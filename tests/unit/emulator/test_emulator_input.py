"""The input of a session on a simulated clock: the buffer, transcription, the idle timeout."""

from __future__ import annotations

import base64

import pytest

from services.emulator.options import Faults, Options
from tests.support.emulator import (
    STARTED,
    STOPPED,
    TONE,
    TURN,
    Rig,
    error,
    kinds,
    of,
    one,
)


def push_to_talk(options: Options = TONE) -> Rig:
    rig = Rig(options, (0, 10_000))
    rig.detect(None)
    return rig


def test_push_to_talk_commits_and_asks() -> None:
    rig = push_to_talk()
    assert rig.speak(500) == []
    assert rig.send("input_audio_buffer.commit") == []
    # The response begins after the commit, which takes 150 ms, although it was requested at once.
    assert rig.send("response.create") == []
    events = rig.run(0.5)
    assert kinds(events)[:4] == [*TURN, "response.created"]


@pytest.mark.parametrize(("ms", "text"), [(0, "0.00"), (40, "40.00"), (80, "80.00")])
def test_a_commit_of_too_little_is_refused_later(ms: int, text: str) -> None:
    rig = push_to_talk()
    rig.speak(ms)
    assert rig.send("input_audio_buffer.commit", event_id="mine") == []
    assert rig.run(0.5) == []
    refused = error(rig.run(0.5))
    assert refused["code"] == "input_audio_buffer_commit_empty"
    assert refused["event_id"] == "mine"
    assert refused["message"] == (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio,"
        f" but buffer only has {text}ms of audio."
    )


def test_clear_empties_the_buffer() -> None:
    rig = push_to_talk()
    rig.speak(500)
    assert kinds(rig.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    rig.send("input_audio_buffer.commit")
    assert error(rig.run(1))["code"] == "input_audio_buffer_commit_empty"


def test_a_commit_in_mid_speech_takes_the_turn_with_its_id() -> None:
    rig = Rig(TONE, (320, 5000))
    started = one(rig.speak(600), STARTED)
    rig.send("input_audio_buffer.commit")
    assert one(rig.run(0.2), TURN[0])["item_id"] == started["item_id"]


def test_audio_that_is_none_is_refused() -> None:
    assert error(Rig().send("input_audio_buffer.append", audio="*"))["param"] == "audio"


def test_half_a_sample_waits_for_the_rest() -> None:
    rig = push_to_talk()
    for piece in (bytes(4801), bytes(1), bytes(4799), bytes(1)):
        rig.send("input_audio_buffer.append", audio=base64.b64encode(piece).decode())
    rig.send("input_audio_buffer.commit")
    item = one(rig.run(1), TURN[0])["item_id"]
    got = one(rig.send("conversation.item.retrieve", item_id=item), "conversation.item.retrieved")
    assert len(base64.b64decode(got["item"]["content"][0]["audio"])) == 9602


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_g711_counts_the_same_time(kind: str) -> None:
    rig = push_to_talk()
    one(rig.update(audio={"input": {"format": {"type": kind}}}), "session.updated")
    for _ in range(50):
        audio = base64.b64encode(b"\xff" * 160).decode()
        rig.send("input_audio_buffer.append", audio=audio)
    rig.send("input_audio_buffer.commit")
    item = one(rig.run(1), TURN[0])["item_id"]
    got = one(rig.send("conversation.item.retrieve", item_id=item), "conversation.item.retrieved")
    # One second, less the audio that the resampler still holds.
    assert len(base64.b64decode(got["item"]["content"][0]["audio"])) == pytest.approx(8000, abs=320)


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("whisper-1", "duration"),
        ("gpt-transcribe", "duration"),
        ("gpt-4o-transcribe", "tokens"),
        ("gpt-x", "tokens"),
    ],
)
def test_a_transcription_says_how_much_speech_there_was(model: str, usage: str) -> None:
    rig = push_to_talk()
    rig.update(audio={"input": {"transcription": {"model": model}}})
    rig.speak(2300)
    rig.send("input_audio_buffer.commit")
    events = rig.run(2)
    base = "conversation.item.input_audio_transcription"
    completed = one(events, f"{base}.completed")
    assert completed["transcript"] == "[2.3 s of speech]"
    assert completed["usage"]["type"] == usage
    deltas = [event["delta"] for event in of(events, f"{base}.delta")]
    assert "".join(deltas) == completed["transcript"]
    assert (len(deltas) == 1) == (model == "whisper-1")


DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
LIVE = {"model": "gpt-live-transcribe"}


def test_a_live_model_transcribes_while_the_person_speaks() -> None:
    rig = Rig(TONE, (992, 3008))
    rig.update(audio={"input": {"transcription": LIVE}})
    speaking = rig.speak(2500)
    started = one(speaking, STARTED)
    assert [event["delta"] for event in of(speaking, DELTA)] == ["1", " 2", " 3"]
    assert {event["item_id"] for event in of(speaking, DELTA)} == {started["item_id"]}
    assert not of(speaking, TURN[0]), "the turn is not committed yet"
    after = rig.speak(2500)
    names = kinds(after)
    assert names.index(STOPPED) < names.index(COMPLETED)
    completed = one(after, COMPLETED)
    said = "".join(event["delta"] for event in of([*speaking, *after], DELTA))
    assert completed["transcript"] == said == "1 2 3 4 5"
    assert completed["item_id"] == started["item_id"] == one(after, TURN[0])["item_id"]
    assert completed["usage"] == {"type": "duration", "seconds": pytest.approx(2.5, abs=0.1)}


def test_a_live_model_names_the_item_of_a_turn_that_the_client_commits() -> None:
    rig = push_to_talk()
    rig.update(audio={"input": {"transcription": LIVE}})
    words = of(rig.speak(1200), DELTA)
    assert [word["delta"] for word in words] == ["1", " 2"]
    rig.send("input_audio_buffer.commit")
    events = rig.run(2)
    assert {word["item_id"] for word in words} == {one(events, TURN[0])["item_id"]}
    assert one(events, COMPLETED)["transcript"] == "1 2"
    rig.speak(300)
    rig.send("input_audio_buffer.commit")
    events = rig.run(2)
    assert one(events, DELTA)["delta"] == one(events, COMPLETED)["transcript"] == "1"


@pytest.mark.parametrize("model", ["gpt-transcribe", "gpt-live-transcribe"])
def test_a_transcription_can_fail(model: str) -> None:
    rig = Rig(Options(faults=Faults(fail_transcription="audio_unintelligible")))
    rig.detect(None)
    rig.update(audio={"input": {"transcription": {"model": model}}})
    rig.speak(1000)
    rig.send("input_audio_buffer.commit")
    events = rig.run(2)
    failed = one(events, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "audio_unintelligible"
    assert failed["item_id"] == one(events, TURN[0])["item_id"]
    assert not of(events, COMPLETED)
    assert not of(events, DELTA)


def test_an_idle_timeout_commits_the_silence_and_answers_it() -> None:
    rig = Rig(Options(reply="tone:2"))
    rig.detect({"type": "server_vad", "idle_timeout_ms": 5000})
    began = rig.now
    rig.send("response.create")
    events = rig.speak(7100)
    name = "input_audio_buffer.timeout_triggered"
    at = next(t for t, e in rig.sent if isinstance(e, dict) and e["type"] == name)
    # The timeout counts from the end of playback, 2 s after the first delta, not from
    # response.done.
    assert at - began == pytest.approx(7.0, abs=0.05)
    fired = one(events, name)
    assert fired["audio_end_ms"] - fired["audio_start_ms"] == pytest.approx(5000, abs=50)
    names = kinds(events)
    where = names.index(name)
    assert names[where + 1 : where + 5] == [*TURN, "response.created"]
    assert one(events, TURN[0])["item_id"] == fired["item_id"]


def test_speech_puts_an_idle_timeout_off() -> None:
    rig = Rig(Options(reply="tone:2"), (6000, 9000))
    rig.detect({"type": "server_vad", "idle_timeout_ms": 5000, "create_response": False})
    rig.send("response.create")
    assert not of(rig.speak(12_000), "input_audio_buffer.timeout_triggered")
