"""Each twist changes what it says, and nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from services.emulator.arguments import parse
from services.emulator.options import BadOption, Options
from services.emulator.twists import LATE_S, TWISTS
from tests.support.emulator import Event, Rig, kinds, of, one

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
SPEECH = (992, 2016)
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}


def turn(*names: str) -> tuple[Rig, list[Event]]:
    """Return a session with twists, and the events of a turn, its answer and an interruption."""
    rig = Rig(Options(reply="tone:2", twists=names), SPEECH, (4000, 5000))
    return rig, rig.speak(6000)


def plain() -> list[str]:
    return kinds(turn()[1], "")


def test_without_twists_the_rig_checks_every_event() -> None:
    assert "conversation.item.added" in plain()


def test_no_item_added_concerns_the_items_of_responses_alone() -> None:
    rig, events = turn("no-item-added")
    roles = [event["item"]["role"] for event in of(events, "conversation.item.added")]
    assert set(roles) == {"user"}
    assert of(events, "response.output_item.added")
    created = rig.send("conversation.item.create", item=ITEM)
    assert kinds(created) == ["conversation.item.added", "conversation.item.done"]


def test_item_created_is_the_old_name_of_the_others() -> None:
    _, events = turn("item-created")
    created = of(events, "conversation.item.created")
    assert {event["item"]["role"] for event in created} == {"user"}
    assert {e["item"]["role"] for e in of(events, "conversation.item.done")} == {"assistant"}


def test_committed_without_id() -> None:
    _, events = turn("committed-without-id")
    committed = of(events, "input_audio_buffer.committed")[0]
    assert committed.keys() == {"type", "event_id"}


def test_null_conversation_and_no_answer_fields() -> None:
    _, events = turn("null-conversation")
    assert {e["response"]["conversation_id"] for e in of(events, "response.done")} == {None}
    _, events = turn("no-answer-fields")
    assert "usage" not in of(events, "response.done")[0]["response"]


def test_error_in_type() -> None:
    rig, _ = turn("error-in-type")
    found = one(rig.send("nope"), "error")["error"]
    assert (found["type"], found["code"]) == ("invalid_value", None)


def test_other_codes_also_in_the_type() -> None:
    rig, events = turn("other-codes", "error-in-type")
    found = one(rig.send("conversation.item.delete", item_id="no"), "error")["error"]
    assert (found["type"], found["code"]) == ("conversation_item_not_found", None)
    item = of(events, "response.output_item.added")[0]["item"]["id"]
    truncate = {"item_id": item, "content_index": 0, "audio_end_ms": 10}
    one(rig.send("conversation.item.truncate", **truncate), "conversation.item.truncated")
    again = one(rig.send("conversation.item.truncate", **truncate), "error")["error"]
    assert again["type"] == "item_already_truncated"


def test_silent_truncate_does_nothing() -> None:
    rig, events = turn("silent-truncate")
    item = of(events, "response.output_item.added")[0]["item"]["id"]
    truncate = {"item_id": item, "content_index": 0, "audio_end_ms": 10}
    assert rig.send("conversation.item.truncate", **truncate) == []
    answer = rig.send("conversation.item.retrieve", item_id=item)
    retrieved = one(answer, "conversation.item.retrieved")["item"]["content"][0]
    assert retrieved["transcript"] is not None
    assert len(base64.b64decode(retrieved["audio"])) > 48 * 10


@pytest.mark.parametrize("kind", ["input_audio_buffer.clear", "conversation.item.retrieve"])
def test_no_clear(kind: str) -> None:
    rig, _ = turn("no-clear")
    fields = {"item_id": "x"} if kind.endswith("retrieve") else {}
    assert one(rig.send(kind, **fields), "error")["error"]["code"] == "unknown_or_invalid_event"


def test_response_cancelled_comes_with_a_cancelled_response_alone() -> None:
    rig = Rig(Options(reply="tone:20", twists=("response-cancelled",)))
    rig.send("response.create")
    names = kinds([*rig.run(1), *rig.send("response.cancel")], "")
    assert names.index("response.cancelled") == names.index("response.done") - 1
    assert "response.cancelled" not in kinds(turn("response-cancelled")[1], "")


def test_unpadded_base64() -> None:
    rig = Rig(Options(reply="tone:1", delta_bytes=(4,), twists=("unpadded-base64",)))
    deltas = of(rig.send("response.create"), "response.output_audio.delta")
    assert deltas
    assert not any(event["delta"].endswith("=") for event in deltas)


def test_own_events() -> None:
    names = kinds(turn("own-events")[1], "")
    assert names[0] == "emulator.snapshot"
    assert [name for name in names if name != "emulator.snapshot"] == plain()


def test_no_session_updated() -> None:
    rig = Rig(Options(reply="tone:1", twists=("no-session-updated",)))
    assert rig.update(instructions="Hm.") == []


@pytest.mark.parametrize(
    ("name", "param"), [("refuse-voice", "session.audio.output.voice"), ("refuse-unnamed", None)]
)
def test_an_update_with_a_voice_is_refused_as_a_whole(name: str, param: str | None) -> None:
    rig = Rig(Options(reply="tone:1", twists=(name,)))
    error = one(rig.update(instructions="Hm.", audio={"output": {"voice": "alloy"}}), "error")
    assert error["error"]["param"] == param
    told = one(rig.update(audio={"input": {"turn_detection": None}}), "session.updated")
    assert told["session"]["instructions"] != "Hm."
    assert one(rig.send("session.update", session=5), "error")


def test_keep_deciding() -> None:
    rig = Rig(Options(reply="tone:1", twists=("keep-deciding",)))
    told = one(rig.detect(None), "session.updated")
    assert told["session"]["audio"]["input"]["turn_detection"]["create_response"] is True


def test_rate_16000_is_announced_and_the_audio_is_shorter() -> None:
    rig = Rig(Options(reply="tone:1", twists=("rate-16000",)))
    told = one(rig.update(instructions="Hm."), "session.updated")
    assert told["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 16_000}
    events = [*rig.send("response.create"), *rig.run(3)]
    deltas = of(events, "response.output_audio.delta")
    assert sum(len(base64.b64decode(event["delta"])) for event in deltas) == 2 * 16_000


def test_late_transcript() -> None:
    rig, _ = turn("late-transcript")
    rig.run(3)
    name = "conversation.item.input_audio_transcription.completed"
    times = {
        kind: next(at for at, e in rig.sent if isinstance(e, dict) and e["type"] == kind)
        for kind in ("input_audio_buffer.committed", name)
    }
    assert times[name] - times["input_audio_buffer.committed"] > LATE_S


def test_content_filter() -> None:
    rig = Rig(Options(reply="tone:1", twists=("content-filter",)))
    rig.send("response.create")
    done = one(rig.run(3), "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "content_filter")


@pytest.mark.parametrize("name", TWISTS)
def test_each_twist_is_an_option_and_is_described(name: str) -> None:
    assert parse(["--twist", name], {}).twists == (name,)
    document = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in document


def test_an_unknown_twist_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadOption, match="invalid choice: 'foxtrot'"):
        parse(["--twist", "foxtrot"], {})
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in TWISTS)


def test_an_omitted_event_is_never_sent_and_the_others_are() -> None:
    rig = Rig(Options(reply="tone:2", omitted=("response.done",)), SPEECH, (4000, 5000))
    sent = kinds(rig.speak(6000), "")
    assert "response.done" not in sent
    assert set(plain()) - set(sent) == {"response.done"}
    with pytest.raises(BadOption, match="is no type of an event"):
        parse(["--omit", "Response done"], {})
    assert parse(["--omit", "a.b", "--omit", "c"], {}).omitted == ("a.b", "c")
