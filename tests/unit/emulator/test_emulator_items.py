"""The items of a session on a simulated clock: truncated, added, deleted and retrieved."""

from __future__ import annotations

import base64
from typing import Any

from services.emulator.options import Options
from tests.support.emulator import (
    DONE,
    TONE,
    Event,
    Rig,
    audio_of,
    error,
    item_of,
    of,
    one,
    truncate,
)

# Truncation.


def test_a_truncate_beyond_what_the_server_has_is_refused_in_its_words() -> None:
    rig = Rig(TONE)
    item = item_of(rig.send("response.create"))
    rig.run(20)
    # 8000 ms were sent, and the server takes the item to be 85 ms shorter.
    assert error(truncate(rig, item, 8000)) | {"event_id": None} == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "Audio content of 7915ms is already shorter than 8000ms",
        "param": "audio_end_ms",
        "event_id": None,
    }
    assert one(truncate(rig, item, 7915), "conversation.item.truncated")
    assert one(truncate(rig, item, 100), "conversation.item.truncated")
    message = error(truncate(rig, item, 101))["message"]
    assert message == "Audio content of 100ms is already shorter than 101ms"


def test_a_truncate_in_mid_generation_is_not_a_cancel() -> None:
    rig = Rig(TONE)
    item = item_of(rig.send("response.create"))
    rig.run(0.5)
    assert one(truncate(rig, item, 700), "conversation.item.truncated")
    rest = rig.run(20)
    assert audio_of(rest)
    done = one(rest, DONE)["response"]
    assert done["status"] == "completed"
    # Closing the item does not bring its transcript back.
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": None}]
    got = one(rig.send("conversation.item.retrieve", item_id=item), "conversation.item.retrieved")
    assert len(base64.b64decode(got["item"]["content"][0]["audio"])) == 700 * 48


def test_the_audio_sent_so_far_limits_a_truncate() -> None:
    rig = Rig(TONE)
    item = item_of(rig.send("response.create"))
    rig.run(0.1)
    sent = len(audio_of([e for _, e in rig.sent if isinstance(e, dict)])) // 48
    assert "is already shorter" in error(truncate(rig, item, sent - 84))["message"]
    assert one(truncate(rig, item, sent - 85), "conversation.item.truncated")


def test_only_spoken_items_can_be_truncated() -> None:
    rig = Rig(TONE)
    only = "Only model output audio messages can be truncated"
    assert error(truncate(rig, "item_x", 1))["code"] == "item_truncate_invalid_item_id"
    assert error(truncate(rig, "item_x", 1))["message"] == "Item with item_id not found: item_x"
    content = [{"type": "input_text", "text": "hello"}]
    item = {"id": "mine", "type": "message", "role": "user", "content": content}
    rig.send("conversation.item.create", item=item)
    refused = error(truncate(rig, "mine", 0))
    assert (refused["message"], refused["code"], refused["param"]) == (only, None, None)
    text = rig.send("response.create", response={"output_modalities": ["text"]}) + rig.run(60)
    assert error(truncate(rig, item_of(text), 0))["message"] == only
    item_id = item_of(rig.send("response.create"))
    assert error(truncate(rig, item_id, 0, index=1))["param"] == "content_index"


def test_an_item_without_audio_yet_cannot_be_truncated() -> None:
    rig = Rig(Options(reply="tone:8", latency_ms=100))
    item = item_of(rig.send("response.create") + rig.run(0.06))
    only = "Only model output audio messages can be truncated"
    assert error(truncate(rig, item, 0))["message"] == only
    assert audio_of(rig.run(1))


# Items.


def test_items_are_added_where_they_are_asked_to_be() -> None:
    rig = Rig()

    def create(name: str, **where: Any) -> list[Event]:
        item = {"id": name, "type": "message", "role": "user",
                "content": [{"type": "input_text", "text": name}]}  # fmt: skip
        return rig.send("conversation.item.create", item=item, **where)

    def previous(events: list[Event]) -> Any:
        done = one(events, "conversation.item.done")
        assert one(events, "conversation.item.added")["item"] == done["item"]
        return done["previous_item_id"]

    assert previous(create("a")) is None
    assert previous(create("c")) == "a"
    assert previous(create("b", previous_item_id="a")) == "a"
    assert previous(create("first", previous_item_id="root")) is None
    assert previous(create("last")) == "c"
    assert "does not exist" in error(create("x", previous_item_id="nope"))["message"]
    assert "already exists" in error(create("a"))["message"]


def test_deleting_and_retrieving_what_is_not_there_is_refused_in_its_words() -> None:
    rig = Rig()
    refused = error(rig.send("conversation.item.delete", item_id="yo"))
    assert refused["code"] == "item_delete_invalid_item_id"
    assert refused["message"] == "Error deleting item: the item with id 'yo' does not exist."
    assert refused["param"] is None
    refused = error(rig.send("conversation.item.retrieve", item_id="yo"))
    assert refused["code"] == "item_retrieve_invalid_item_id"


def test_assistant_audio_cannot_be_created_but_text_can() -> None:
    rig = Rig()
    item: Event = {"type": "message", "role": "assistant",
                   "content": [{"type": "output_audio", "audio": "AAAA"}]}  # fmt: skip
    assert error(rig.send("conversation.item.create", item=item))["code"] == "invalid_value"
    item["content"] = [{"type": "output_text", "text": "said before"}]
    assert one(rig.send("conversation.item.create", item=item), "conversation.item.done")


def test_an_item_deleted_while_it_is_spoken_is_not_done_in_the_conversation() -> None:
    rig = Rig(TONE)
    item = item_of(rig.send("response.create"))
    rig.send("conversation.item.delete", item_id=item)
    events = rig.run(20)
    assert one(events, "response.output_item.done")["item"]["id"] == item
    assert not of(events, "conversation.item.done")
