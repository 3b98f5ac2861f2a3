"""A session on a simulated clock: turns, answers, interruptions, items, limits."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from services.emulator import clips
from services.emulator.options import GARBAGE, Faults, Options
from services.emulator.outbox import Close, Reset
from tests.support.emulator import (
    DONE,
    STARTED,
    STOPPED,
    TONE,
    TURN,
    Event,
    Rig,
    audio_of,
    error,
    item_of,
    kinds,
    of,
    one,
    truncate,
    validate,
    voice,
)


def test_a_session_begins_with_its_settings_and_then_is_quiet() -> None:
    rig = Rig()
    (_, created), *rest = rig.sent
    assert not rest
    assert isinstance(created, dict)
    session = created["session"]
    assert session["expires_at"] == 1_003_600
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert rig.run(70) == []


def test_a_turn_is_heard_and_answered() -> None:
    rig = Rig(TONE, (992, 2016))
    events = rig.speak(4000)
    assert kinds(events)[:6] == [STARTED, STOPPED, *TURN, "response.created"]
    started, stopped = one(events, STARTED), one(events, STOPPED)
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (692, 2216)
    committed = one(events, TURN[0])
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    added = of(events, TURN[1])[0]["item"]
    assert added["id"] == started["item_id"]
    assert added["content"] == [{"type": "input_audio", "transcript": None}]


def test_the_user_item_holds_the_audio_of_the_turn() -> None:
    rig = Rig(TONE, (992, 2016))
    item = one(rig.speak(4000), TURN[0])["item_id"]
    got = one(rig.send("conversation.item.retrieve", item_id=item), "conversation.item.retrieved")
    assert len(base64.b64decode(got["item"]["content"][0]["audio"])) == (2216 - 692) * 48


def test_create_response_false_only_listens() -> None:
    rig = Rig(TONE, (992, 2016))
    rig.detect({"type": "server_vad", "create_response": False})
    assert kinds(rig.speak(4000)) == [STARTED, STOPPED, *TURN]


def test_speech_while_a_reply_is_generated_cancels_it() -> None:
    rig = Rig(TONE, (992, 2016))
    rig.send("response.create")
    events = rig.speak(2000)
    assert kinds(events)[:7] == [
        STARTED,
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        DONE,
    ]
    details = one(events, DONE)["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "turn_detected"}
    after = events[kinds(events, "").index(STARTED) :]
    assert not audio_of(after[[e["type"] for e in after].index(STARTED) :])


def test_speech_after_generation_while_playing_only_starts() -> None:
    rig = Rig(TONE, (4000, 4512))
    rig.send("response.create")
    events = rig.speak(4500)
    assert kinds(events)[-1] == STARTED
    assert one(events, DONE)["response"]["status"] == "completed"
    assert not of(events, "error")


def test_interrupt_response_false_lets_the_reply_go_on() -> None:
    rig = Rig(TONE, (320, 832))
    rig.detect({"type": "server_vad", "interrupt_response": False})
    rig.send("response.create")
    events = rig.speak(3000)
    assert one(events, DONE)["response"]["status"] == "completed"
    # The turn ended while the reply was still being sent, so that no second response can begin.
    assert error(events)["code"] == "conversation_already_has_active_response"


def test_a_turn_that_ends_before_the_late_deltas_do_is_answered_after_them() -> None:
    rig = Rig(Options(reply="tone:30", faults=Faults(late_ms=2000)), (320, 512))
    rig.send("response.create")
    events = rig.speak(4000)
    names = kinds(events)
    assert names.index(STOPPED) < names.index(DONE) < names.index("response.created")
    assert not of(events, "error")


def test_the_greeting_is_for_whoever_has_not_spoken_and_replies_come_in_turn() -> None:
    rig = Rig(Options(pace=0))
    index = voice().index
    said = []
    for _ in range(len(index.replies) + 2):
        done = one(rig.send("response.create") + rig.run(60), DONE)
        said.append(done["response"]["output"][0]["content"][0]["transcript"])
    names = [index.greeting, *index.replies, index.replies[0]]
    assert said == [voice().say(name).transcript for name in names]


def test_a_first_turn_that_was_spoken_needs_no_greeting() -> None:
    rig = Rig(Options(), (992, 2016))
    events = rig.speak(3000) + rig.run(10)
    assert one(events, DONE)["response"]["output"][0]["content"][0]["transcript"] == (
        voice().say(voice().index.replies[0]).transcript
    )


def interrupted(rig: Rig, *changes: tuple[str, Any]) -> tuple[Event, bytes]:
    """Request the next reply. Return its response and its audio."""
    rig.run(60)
    events = rig.send("response.create") + rig.run(60)
    return one(events, DONE)["response"], audio_of(events)


def test_after_an_interruption_the_last_words_are_played_back_exactly() -> None:
    rig = Rig(Options(skew_ms=0))
    rig.send("response.create")
    rig.run(60)
    item = item_of(rig.send("response.create"))
    rig.run(20)
    assert one(truncate(rig, item, 3333), "conversation.item.truncated")["audio_end_ms"] == 3333
    reply, audio = interrupted(rig)
    index = voice().index
    lighthouse = voice().say(index.replies[0])
    words = lighthouse.last_words(3333, 5)
    assert words is not None
    assert reply["output"][0]["content"][0]["transcript"] == " ".join(
        [
            voice().say(index.stopped).transcript,
            words.transcript,
            voice().say(index.onward).transcript,
            voice().say(index.replies[1]).transcript,
        ]
    )
    stopped = 2 * voice().say(index.stopped).samples
    played = audio[stopped : stopped + 2 * words.samples]
    assert played == lighthouse.read(3333 * 24 - words.samples, 3333 * 24)
    believed = [entry for entry in rig.journal if entry["kind"] == "interruption"]
    assert believed[-1]["audio_end_ms"] == 3333
    assert believed[-1]["heard"] == lighthouse.heard(3333)
    cut = [entry for entry in rig.journal if entry["kind"] == "truncate"]
    assert (cut[-1]["ok"], cut[-1]["audio_end_ms"]) == (True, 3333)
    assert cut[-1]["item_ms"] == lighthouse.samples // 24


def test_a_client_that_never_truncates_is_taken_to_have_heard_all() -> None:
    rig = Rig(Options(), (2000, 3008))
    rig.send("response.create")
    events = rig.speak(6000)
    greeting = voice().say("greeting")
    reply = one(events + rig.run(20), "response.created")
    assert reply
    last = greeting.last_words(greeting.samples // 24, 5)
    assert last is not None
    assert [e["says"] for e in rig.journal if e["kind"] == "reply"][-1].startswith("stopped+")
    believed = next(e for e in rig.journal if e["kind"] == "interruption")
    assert believed["heard"] == greeting.transcript


@pytest.mark.parametrize("how", ["delete", "truncate"])
def test_an_item_that_was_not_heard_at_all_is_reported_as_unheard(how: str) -> None:
    rig = Rig(Options())
    item = item_of(rig.send("response.create"))
    rig.run(20)
    if how == "delete":
        deleted = rig.send("conversation.item.delete", item_id=item)
        assert one(deleted, "conversation.item.deleted")["item_id"] == item
    else:
        truncate(rig, item, 0)
    reply, _ = interrupted(rig)
    index = voice().index
    assert reply["output"][0]["content"][0]["transcript"].startswith(
        voice().say(index.stopped_unheard).transcript
    )


def test_speech_after_the_reply_has_played_interrupts_nothing() -> None:
    # The greeting lasts 5.2 s. The person speaks at 7 s.
    rig = Rig(Options(), (7008, 8000))
    rig.send("response.create")
    rig.speak(10_000)
    assert [e["says"] for e in rig.journal if e["kind"] == "reply"] == ["greeting", "lighthouse"]


def test_the_words_of_the_cut_item_are_played_back() -> None:
    rig = Rig(Options(skew_ms=0, faults=Faults(commentary=True)))
    added = of(rig.send("response.create") + rig.run(30), "response.output_item.added")
    first, second = (event["item"]["id"] for event in added)
    truncate(rig, first, 800)
    rig.send("conversation.item.delete", item_id=second)
    reply, _ = interrupted(rig)
    words = voice().say("commentary").last_words(800, 5)
    assert words is not None
    assert words.transcript in reply["output"][1]["content"][0]["transcript"]
    assert [item["phase"] for item in reply["output"]] == ["commentary", "final_answer"]


def test_a_cancel_by_the_client_counts_as_an_interruption() -> None:
    rig = Rig(Options())
    rig.send("response.create")
    rig.run(0.3)
    details = one(rig.send("response.cancel"), DONE)["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "client_cancelled"}
    interrupted(rig)
    assert rig.journal[-1]["says"].startswith("stopped+")


# Responses.


def test_a_second_response_is_refused_while_one_is_active() -> None:
    rig = Rig(TONE)
    active = one(rig.send("response.create"), "response.created")["response"]["id"]
    refused = error(rig.send("response.create"))
    assert refused["code"] == "conversation_already_has_active_response"
    assert refused["message"] == (
        f"Conversation already has an active response in progress: {active}. Wait until the"
        " response is finished before creating a new one."
    )


def test_a_response_out_of_band_runs_beside_and_is_not_interrupted() -> None:
    rig = Rig(TONE, (128, 640))
    ours = one(rig.send("response.create"), "response.created")["response"]
    aside = one(
        rig.send("response.create", response={"conversation": "none", "metadata": {"for": "me"}}),
        "response.created",
    )["response"]
    assert (aside["conversation_id"], aside["metadata"]) == (None, {"for": "me"})
    assert ours["conversation_id"].startswith("conv_")
    done = {e["response"]["id"]: e["response"]["status"] for e in of(rig.speak(3000), DONE)}
    assert done[ours["id"]] == "cancelled"
    assert done[aside["id"]] == "completed"


def test_a_cancel_without_an_id_leaves_what_is_out_of_band() -> None:
    rig = Rig(TONE)
    created = rig.send("response.create", response={"conversation": "none"})
    aside = one(created, "response.created")["response"]["id"]
    refused = error(rig.send("response.cancel"))
    assert refused["code"] == "response_cancel_not_active"
    assert refused["message"] == "Cancellation failed: no active response found"
    done = one(rig.send("response.cancel", response_id=aside), DONE)["response"]
    assert done["status_details"]["reason"] == "client_cancelled"
    assert error(rig.send("response.cancel", response_id=aside))
    assert error(rig.send("response.cancel", response_id="resp_x"))


def test_text_answers_quote_the_text_they_answer() -> None:
    rig = Rig(Options())
    content = [{"type": "input_text", "text": "Is there anybody there?"}]
    item = {"type": "message", "role": "user", "content": content}
    rig.send("conversation.item.create", item=item)
    events = rig.send("response.create", response={"output_modalities": ["text"]}) + rig.run(60)
    done = one(events, DONE)["response"]
    assert done["output_modalities"] == ["text"]
    text = done["output"][0]["content"][0]["text"]
    assert text.startswith("You wrote: “Is there anybody there?” A lighthouse")
    assert not audio_of(events)


def test_input_replaces_the_conversation_for_one_response() -> None:
    rig = Rig(Options())
    old = {"id": "old", "type": "message", "role": "user",
           "content": [{"type": "input_text", "text": "old words"}]}  # fmt: skip
    rig.send("conversation.item.create", item=old)

    def answer(given: list[Event]) -> str:
        asked = {"conversation": "none", "output_modalities": ["text"], "input": given}
        events = rig.send("response.create", response=asked) + rig.run(60)
        return str(one(events, DONE)["response"]["output"][0]["content"][0]["text"])

    new = {"type": "message", "role": "user",
           "content": [{"type": "input_text", "text": "new words"}]}  # fmt: skip
    assert "“new words”" in answer([new])
    assert "“old words”" in answer([{"type": "item_reference", "id": "old"}])
    assert "You wrote" not in answer([])
    missing = {"conversation": "none", "input": [{"type": "item_reference", "id": "nope"}]}
    assert "nope" in error(rig.send("response.create", response=missing))["message"]


def test_a_function_is_called_and_its_output_told() -> None:
    rig = Rig(Options())
    tool = {"type": "function", "name": "roll_dice", "parameters": {
        "type": "object", "required": ["sides"],
        "properties": {"sides": {"type": "integer", "minimum": 6}}}}  # fmt: skip
    rig.update(tools=[tool], tool_choice="required")
    events = rig.send("response.create") + rig.run(5)
    call = one(events, DONE)["response"]["output"][0]
    assert (call["type"], call["name"], call["status"]) == (
        "function_call", "roll_dice", "completed")  # fmt: skip
    assert json.loads(call["arguments"]) == {"sides": 6}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "a four"}
    one(rig.send("conversation.item.create", item=output), "conversation.item.done")
    events = rig.send("response.create") + rig.run(20)
    transcript = one(events, DONE)["response"]["output"][0]["content"][0]["transcript"]
    assert transcript == voice().say("function").transcript + " a four"
    assert len(audio_of(events)) == 2 * voice().say("function").samples


def test_speech_during_a_function_call_leaves_it_incomplete() -> None:
    rig = Rig(Options(call_ms=5000), (320, 3000))
    parameters = {"type": "object", "required": ["a", "b", "c"]}
    rig.update(tools=[{"type": "function", "name": "roll_dice", "parameters": parameters}])
    asked = {"tool_choice": "required", "parallel_tool_calls": False}
    rig.send("response.create", response=asked)
    done = one(rig.speak(1000), DONE)["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"


def test_an_output_of_no_call_is_refused() -> None:
    item = {"type": "function_call_output", "call_id": "call_x", "output": ""}
    refused = error(Rig().send("conversation.item.create", item=item))
    assert refused["code"] == "invalid_tool_call_id"


def test_spoken_turns_can_be_answered_by_calls() -> None:
    rig = Rig(Options(call_every=2), (992, 2016), (4000, 5024), (7008, 8032))
    rig.update(tools=[{"type": "function", "name": "roll_dice"}])
    events = rig.speak(10_000)
    added = [e["item"]["type"] for e in of(events, "response.output_item.added")]
    assert added == ["message", "function_call", "message"]


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    rig = Rig(TONE)
    one(rig.update(audio={"output": {"voice": "cedar"}}), "session.updated")
    rig.send("response.create")
    refused = error(rig.update(audio={"output": {"voice": "marin"}}))
    assert refused["code"] == "cannot_update_voice"
    assert refused["message"] == (
        "Cannot update a conversation's voice if assistant audio is present."
    )
    one(rig.update(audio={"output": {"voice": "cedar"}}), "session.updated")


def test_a_response_that_fails_says_why() -> None:
    rig = Rig(Options(faults=Faults(fail="insufficient_quota")))
    done = one(rig.send("response.create") + rig.run(1), DONE)["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "insufficient_quota"


def test_rate_limits_follow_the_done() -> None:
    rig = Rig(Options(reply="tone:0.2", pace=0))
    events = rig.send("response.create") + rig.run(1)
    assert kinds(events)[-2:] == [DONE, "rate_limits.updated"]


def test_metadata_is_limited() -> None:
    rig = Rig()
    many = {str(n): "" for n in range(17)}
    assert error(rig.send("response.create", response={"metadata": many}))
    assert error(rig.send("response.create", response={"metadata": {"k": "v" * 513}}))
    assert error(rig.send("response.create", response={"metadata": {"k" * 65: "v"}}))


# Ends and faults.


def test_a_session_expires() -> None:
    rig = Rig(Options(expire_s=2))
    refused = error(rig.run(3))
    message = "Your session hit the maximum duration of 60 minutes."
    assert (refused["code"], refused["message"]) == ("session_expired", message)
    assert rig.closed == Close(1001, message)


def test_session_close_closes() -> None:
    rig = Rig()
    rig.send("session.close")
    assert rig.closed == Close(1000, "")


def read_audio_delta(event: Event) -> None:
    """Read an audio delta as a strict client does."""
    validate(event)
    base64.b64decode(event["delta"], validate=True)


def test_garbage_goes_ahead_of_the_first_audio_of_every_reply() -> None:
    rig = Rig(Options(reply="tone:0.3", pace=0, faults=Faults(garbage=GARBAGE)))
    for _ in range(2):
        del rig.sent[:]
        rig._marked = 0
        rig.send("response.create")
        rig.run(1)
        outgoing = [out for _, out in rig.sent]
        litter = [out for out in outgoing if not isinstance(out, dict)]
        assert len(litter) == len(GARBAGE)
        where = outgoing.index(litter[0])
        assert outgoing[where : where + len(GARBAGE)] == litter
        after = outgoing[where + len(GARBAGE)]
        assert isinstance(after, dict)
        assert after["type"] == "response.output_audio.delta"
        texts = [text for text in litter if isinstance(text, str)]
        assert any(isinstance(out, bytes) for out in litter)
        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(texts[0])
        for text in texts[1:]:
            with pytest.raises((KeyError, ValueError)):
                read_audio_delta(json.loads(text))


def test_the_connection_is_reset_after_so_much_audio() -> None:
    rig = Rig(Options(reply="tone:8", faults=Faults(drop_after_ms=1000)))
    rig.send("response.create")
    rig.run(0.3)
    where = [isinstance(out, Reset) for _, out in rig.sent].index(True)
    before = [out for _, out in rig.sent[:where] if isinstance(out, dict)]
    assert 1000 <= len(audio_of(before)) / 48 < 1250


def test_late_deltas_in_a_session_follow_speech_started() -> None:
    faults = Faults(late_ms=200, late_after_ms=100)
    rig = Rig(Options(reply="tone:30", faults=faults), (320, 2000))
    rig.send("response.create")
    events = rig.speak(1500)
    names = [event["type"] for event in events]
    after, done = names.index(STARTED), names.index(DONE)
    assert audio_of(events[after:done])
    assert audio_of(events[done:])


def test_a_recording_that_breaks_in_mid_reply_fails_the_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(Options())
    rig.send("response.create")
    rig.run(0.2)

    def broken(self: object, start: int, stop: int) -> bytes:
        raise clips.VoiceError("greeting.opus: disk on fire")

    monkeypatch.setattr(clips.Clip, "read", broken)
    done = one(rig.run(5), DONE)["response"]
    assert done["status"] == "failed"
    assert "disk on fire" in done["status_details"]["error"]["message"]
