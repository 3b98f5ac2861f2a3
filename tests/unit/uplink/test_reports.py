"""Reports asks the server once per item to truncate it, to delete it, or neither."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink import events, objects
from services.downlink.replies import Replies
from services.playback.player import Player
from services.uplink.reports import MARGIN_MS, REMEMBERED, REMEMBERED_TEXTS, Reports
from shared import messages
from shared.audio.pcm import RATE, ms_to_samples, samples_to_ms

SECOND = 24_000


def item(
    heard: int, received: int, *, done: bool = True, name: str = "item_1", part: int = 0
) -> messages.HeardItem:
    return messages.HeardItem(name, part, heard, received, done)


def flush_report(
    *items: messages.HeardItem, cause: str = "speech_started", generation: int = 2
) -> messages.FlushReport:
    return messages.FlushReport(
        generation=generation,
        session=3,
        cause=cause,
        event_ns=10,
        flush_ns=20,
        received_ns=30,
        silent_ns=40,
        latency_ns=5,
        items=list(items),
    )


def flush(cause: str, *active: str, received: tuple[messages.Received, ...] = ()) -> messages.Flush:
    return messages.Flush(
        generation=2,
        session=3,
        cause=cause,
        event_ns=10,
        received=list(received),
        interrupted=["resp_1", *active],
        active=list(active),
    )


def state(*items: messages.ItemState) -> messages.ReplyState:
    return messages.ReplyState(generation=2, session=3, active=[], items=list(items))


def late(name: str = "item_1", **fields: Any) -> messages.ItemState:
    known: dict[str, Any] = {"received": 500, "done": True, "truncated": False, "late": True}
    return messages.ItemState("resp_1", name, 0, **{**known, **fields})


def asked(sent: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in sent]


def truncate(name: str, end: int, part: int = 0) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "item_id": name,
        "content_index": part,
        "audio_end_ms": end,
    }


def delete(name: str) -> dict[str, Any]:
    return {"type": "conversation.item.delete", "item_id": name}


def one(heard: int, received: int, *, done: bool = True, **options: Any) -> list[dict[str, Any]]:
    """Return the requests of a new Reports for one interrupted item, after checking its record."""
    reports = Reports(server_cancels=options.pop("server_cancels", True))
    sent, record = reports.flush_report(flush_report(item(heard, received, done=done), **options))
    [report] = record.reports
    assert (report.heard_ms, report.received_ms) == (samples_to_ms(heard), samples_to_ms(received))
    requests = asked(sent)
    actions = {"conversation.item.truncate": "truncate", "conversation.item.delete": "delete"}
    assert [actions[r["type"]] for r in requests] == (
        [] if report.action == "none" else [report.action]
    )
    assert report.audio_end_ms == (
        requests[0]["audio_end_ms"] if report.action == "truncate" else 0
    )
    return requests


def test_an_item_that_an_earlier_downlink_began_may_be_longer_than_is_known() -> None:
    # The item was heard up to its last received sample. A previous downlink began the item, so the
    # server may have sent more of it while no downlink ran.
    reports = Reports(server_cancels=True)
    sent, _ = reports.flush_report(flush_report(item(SECOND, SECOND, done=False)), counted=set())
    assert asked(sent) == [truncate("item_1", 1000 - MARGIN_MS)]
    reports = Reports(server_cancels=True)
    cut = flush_report(item(SECOND, SECOND, done=False))
    assert reports.flush_report(cut, counted={("item_1", 0)})[0] == []
    broken = messages.HeardItem("item_1", 0, SECOND, SECOND + 24, True, broken=True)
    sent, _ = Reports(server_cancels=True).flush_report(flush_report(broken))
    assert asked(sent) == [truncate("item_1", 1001 - MARGIN_MS)]


@pytest.mark.parametrize("answered", [True, False], ids=["by the next playback", "by nobody"])
def test_the_beginning_of_an_item_counts_after_downlink_and_playback_died(answered: bool) -> None:
    reports, turns, player = Reports(server_cancels=True), Replies(1000, session=3), Player(0, 0, 0)

    def said(seconds: float) -> None:
        delta = base64.b64encode(bytes(2 * round(seconds * RATE))).decode()
        for out in turns.audio(events.AudioDelta("resp_1", "item_1", delta, 0)):
            assert isinstance(out, messages.ReplyAudio)
            player.push(out)

    turns.response_created(objects.Response("resp_1"))
    said(1.0)
    player.render(RATE // 5)
    reports.heard(messages.Heard(generation=1000, session=3, playing=True, items=player.items()))
    reports.reply_state(turns.state())
    turns, player = Replies(2000, session=3), Player(0, 0, 0)
    said(0.25)
    turns.audio_done(events.AudioDone("resp_1", "item_1", 0))
    player.render(RATE // 4)
    reports.heard(messages.Heard(generation=2000, session=3, playing=True, items=player.items()))
    told = turns.flush("abandoned", 1)
    cut = player.flush(told.generation, told.received, told.interrupted)
    assert cut is not None
    answer = flush_report(*cut, cause="abandoned") if answered else reports.without_report(told)
    # The new downlink does not know where in the item its audio begins, so its flush says that 0
    # samples were received. Only playback's answer shows that enough audio came to keep 150 ms.
    known = truncate("item_1", 150) if answered else delete("item_1")
    assert asked(reports.flush_report(answer)[0]) == [known]


def test_a_restarted_uplink_reports_earlier_cuts_that_are_not_confirmed() -> None:
    reports = Reports(server_cancels=True)
    names = ("told", "untold", "unheard", "playing", "whole", "unknown")
    cut = [messages.HeardItem(n, 0, SECOND, 3 * SECOND, True, cut=n != "playing") for n in names]
    cut[2] = messages.HeardItem("unheard", 0, 0, SECOND, True, cut=True)
    cut[4] = messages.HeardItem("whole", 0, SECOND, SECOND, True, cut=True)
    heard = messages.Heard(generation=5, session=3, playing=False, items=cut)
    states = [
        messages.ItemState("r", name, 0, 3 * SECOND, True, name == "told") for name in names[:-1]
    ]
    active = ["r", "another"]
    reports.reply_state(messages.ReplyState(generation=5, session=3, active=active, items=states))
    reports.heard(heard)
    missed = reports.unreported(heard)
    late, going_on = reports.late_report(heard, 3, missed)
    assert going_on == ["r"]
    sent, record = reports.flush_report(late)
    assert asked(sent) == [truncate("untold", 1000), delete("unheard")]
    assert (record.generation, record.session) == (5, 3)
    assert reports.unreported(heard) == []
    # A later session has the item as text. Restoration corrects the text.
    reports = Reports(server_cancels=True)
    reports.reply_state(
        messages.ReplyState(generation=5, session=2, active=active, items=states[1:2])
    )
    late, going_on = reports.late_report(heard, 3, reports.unreported(heard))
    assert (reports.flush_report(late)[0], going_on) == ([], [])


# one item


def test_under_the_playhead_it_is_truncated_there() -> None:
    assert one(SECOND, 5 * SECOND) == [truncate("item_1", 1000)]
    assert one(SECOND + 23, 5 * SECOND) == [truncate("item_1", 1000)]
    assert one(SECOND + 24, 5 * SECOND) == [truncate("item_1", 1001)]
    assert one(24, 5 * SECOND) == [truncate("item_1", 1)]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("received", [1, 2399, 2400, 5 * SECOND])
def test_not_heard_at_all_it_is_deleted(received: int, done: bool) -> None:
    assert one(0, received, done=done) == [delete("item_1")]


def test_heard_for_less_than_a_ms_it_is_deleted() -> None:
    """A truncation takes whole milliseconds, at least 1, and never keeps more than was heard."""
    assert one(23, 5 * SECOND) == [delete("item_1")]


def test_an_item_that_was_heard_whole_needs_no_request() -> None:
    assert one(5 * SECOND, 5 * SECOND) == []
    assert one(100, 100) == []


MARGIN = ms_to_samples(MARGIN_MS)


def test_an_item_that_was_heard_almost_to_its_end_counts_as_heard_to_its_end() -> None:
    whole = 5 * SECOND
    assert one(whole - MARGIN, whole) == []
    assert one(whole - MARGIN - 24, whole) == [truncate("item_1", 5000 - MARGIN_MS - 1)]
    # A server that cancels by itself sends no more audio of an item that is not done.
    assert one(whole - MARGIN, whole, done=False) == []


@pytest.mark.parametrize(
    "options", [{"cause": "control"}, {"cause": "lost flush"}, {"server_cancels": False}]
)
def test_a_place_near_the_end_of_the_received_audio_is_clamped(options: dict[str, Any]) -> None:
    """The item may go on, and the server may have up to MARGIN_MS less of it than it sent."""
    whole = 5 * SECOND
    clamped = [truncate("item_1", 5000 - MARGIN_MS)]
    for heard in (whole, whole - 1, whole - MARGIN):
        assert one(heard, whole, done=False, **options) == clamped
    assert one(SECOND, whole, done=False, **options) == [truncate("item_1", 1000)]
    assert one(whole - MARGIN, whole, done=True, **options) == []
    # The server may have no audio at all of an item that is shorter than the margin.
    assert one(1000, MARGIN, done=False, **options) == [delete("item_1")]
    assert one(1000, MARGIN + 24, done=False, **options) == [truncate("item_1", 1)]


@given(
    st.integers(0, 200_000),
    st.integers(0, 200_000),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["speech_started", "control", "lost flush"]),
)
def test_the_request_is_right_for_every_length_that_was_heard(
    one_length: int, other: int, done: bool, server_cancels: bool, cause: str
) -> None:
    heard, received = sorted((one_length, other))
    requests = one(heard, received, done=done, server_cancels=server_cancels, cause=cause)
    assert len(requests) <= 1
    for request in requests:
        assert not (done and heard == received)
        if request["type"] == "conversation.item.truncate":
            end = request["audio_end_ms"]
            assert type(end) is int
            assert 0 < end <= samples_to_ms(heard)
            # The server can have 85 ms less than it sent.
            assert end <= samples_to_ms(received) - 85
            assert samples_to_ms(heard) - end <= MARGIN_MS
        else:
            assert samples_to_ms(heard) == 0 or samples_to_ms(received) <= MARGIN_MS
    if not requests:
        assert samples_to_ms(received) - samples_to_ms(heard) <= MARGIN_MS


# the items of an interruption


def test_each_item_in_playing_order() -> None:
    sent, record = Reports(server_cancels=True).flush_report(
        flush_report(
            item(SECOND, 2 * SECOND, name="item_2"),
            item(0, 3 * SECOND, name="item_3", done=False),
            item(SECOND, 4 * SECOND, name="item_4", part=2),
            item(SECOND, SECOND, name="item_5"),
        ),
        ["resp_1"],
    )
    assert asked(sent) == [
        truncate("item_2", 1000),
        delete("item_3"),
        truncate("item_4", 1000, part=2),
    ]
    assert record == messages.Interruption(
        generation=2,
        session=3,
        cause="speech_started",
        event_ns=10,
        flush_ns=20,
        received_ns=30,
        silent_ns=40,
        latency_ns=5,
        reports=[
            messages.ItemReport("item_2", 0, 1000, 2000, "truncate", 1000),
            messages.ItemReport("item_3", 0, 0, 3000, "delete", 0),
            messages.ItemReport("item_4", 2, 1000, 4000, "truncate", 1000),
            messages.ItemReport("item_5", 0, 1000, 1000, "none", 0),
        ],
        cancelled=["resp_1"],
    )


def test_nothing_was_playing() -> None:
    sent, record = Reports(server_cancels=True).flush_report(flush_report())
    assert sent == []
    assert record.reports == []


@pytest.mark.parametrize("heard", [0, SECOND, 2 * SECOND])
def test_each_item_is_reported_once(heard: int) -> None:
    reports = Reports(server_cancels=True)
    reports.flush_report(flush_report(item(heard, 2 * SECOND)))
    for again in (0, heard, 2 * SECOND):
        sent, record = reports.flush_report(flush_report(item(again, 2 * SECOND, done=False)))
        assert sent == []
        assert [report.action for report in record.reports] == ["none"]
    # Another content part of the item is reported separately.
    sent, _ = reports.flush_report(flush_report(item(SECOND, 2 * SECOND, part=1)))
    assert asked(sent) == [truncate("item_1", 1000, part=1)]


def test_a_confirmed_truncation_is_not_asked_for_again() -> None:
    """A previous uplink process had asked for the truncation."""
    reports = Reports(server_cancels=True)
    known = messages.ItemState("resp_1", "item_1", 0, 2 * SECOND, True, truncated=True)
    assert reports.reply_state(state(known)) == []
    sent, record = reports.flush_report(flush_report(item(SECOND, 2 * SECOND)))
    assert sent == []
    assert record.reports[0].action == "none"


def test_an_item_that_is_merely_known_is_not_settled() -> None:
    reports = Reports(server_cancels=True)
    known = messages.ItemState("resp_1", "item_1", 0, 2 * SECOND, True, truncated=False)
    assert reports.reply_state(state(known)) == []
    sent, _ = reports.flush_report(flush_report(item(SECOND, 2 * SECOND)))
    assert asked(sent) == [truncate("item_1", 1000)]


# items that arrived after the flush of their response


def test_an_item_that_comes_after_its_interruption_is_deleted_once_it_is_done() -> None:
    reports = Reports(server_cancels=False)
    assert reports.reply_state(state(late(done=False))) == []
    assert asked(reports.reply_state(state(late(), late("item_2")))) == [
        delete("item_1"),
        delete("item_2"),
    ]
    assert reports.reply_state(state(late(), late("item_2"))) == []
    sent, _ = reports.flush_report(flush_report(item(0, 500)))
    assert sent == []


@pytest.mark.parametrize(
    "fields", [{"late": False}, {"truncated": True}, {"received": 0}, {"out_of_band": True}]
)
def test_nothing_else_is(fields: dict[str, Any]) -> None:
    assert Reports(server_cancels=False).reply_state(state(late(**fields))) == []


def test_an_item_that_a_flush_ended_is_not_deleted_again() -> None:
    reports = Reports(server_cancels=False)
    assert asked(reports.flush_report(flush_report(item(0, 500)))[0]) == [delete("item_1")]
    assert reports.reply_state(state(late())) == []


# what uplink remembers because playback may have been restarted


def heard(*items: messages.HeardItem) -> messages.Heard:
    return messages.Heard(generation=1, session=3, playing=True, items=list(items))


def test_another_playback_may_have_heard_more() -> None:
    reports = Reports(server_cancels=True)
    reports.heard(heard(item(SECOND, 2 * SECOND), item(5000, 5000, name="item_2")))
    reports.heard(heard(item(500, 2 * SECOND)))  # from a playback that was restarted
    sent, record = reports.flush_report(
        flush_report(item(0, 2 * SECOND), item(0, 5000, name="item_2"), item(0, 500, name="item_3"))
    )
    assert asked(sent) == [truncate("item_1", 1000), delete("item_3")]
    assert [report.heard_ms for report in record.reports] == [1000, 208, 0]


def test_audio_heard_since_the_last_report_counts() -> None:
    reports = Reports(server_cancels=True)
    reports.heard(heard(item(SECOND, 3 * SECOND)))
    sent, _ = reports.flush_report(flush_report(item(2 * SECOND, 3 * SECOND)))
    assert asked(sent) == [truncate("item_1", 2000)]


def test_a_flush_without_an_answer_is_reported_as_far_as_is_known() -> None:
    reports = Reports(server_cancels=True)
    reports.heard(heard(item(SECOND, 2 * SECOND), item(900, 900, name="item_3")))
    unanswered = reports.without_report(
        flush(
            "speech_started",
            received=(
                messages.Received("item_1", 0, 5 * SECOND, False),
                messages.Received("item_2", 0, 700, True),
                messages.Received("item_3", 0, 800, True),
            ),
        )
    )
    assert unanswered == messages.FlushReport(
        generation=2,
        session=3,
        cause="speech_started",
        event_ns=10,
        flush_ns=0,
        received_ns=0,
        silent_ns=0,
        latency_ns=0,
        items=[
            item(SECOND, 5 * SECOND, done=False),
            item(0, 700, name="item_2"),
            item(800, 800, name="item_3"),
        ],
    )
    sent, _ = reports.flush_report(unanswered)
    assert asked(sent) == [truncate("item_1", 1000), delete("item_2")]


# cancelling


@pytest.mark.parametrize(
    ("server_cancels", "cause", "cancelled"),
    [
        (True, "speech_started", []),
        (True, "control", ["resp_2", "resp_3"]),
        (False, "speech_started", ["resp_2", "resp_3"]),
        (False, "control", ["resp_2", "resp_3"]),
    ],
)
def test_active_responses_are_cancelled_unless_the_server_does_it(
    server_cancels: bool, cause: str, cancelled: list[str]
) -> None:
    reports = Reports(server_cancels=server_cancels)
    assert reports.cancels(flush(cause, "resp_2", "resp_3")) == cancelled
    assert reports.cancels(flush(cause)) == []


# heard text


def test_a_report_has_the_words_that_were_heard() -> None:
    reports = Reports(server_cancels=True)
    marks = [messages.Mark(0, 0), messages.Mark(3, 12_000), messages.Mark(7, 24_000)]
    for text in ("One", "One two three"):
        reports.transcript(
            messages.Transcript(
                session=3, item_id="item_1", role="assistant", text=text, final=False, marks=marks
            )
        )
    _, record = reports.flush_report(flush_report(item(25_000, 36_000), item(0, 5, name="item_2")))
    assert [report.heard_text for report in record.reports] == ["One two", ""]


def test_memory_is_bounded() -> None:
    reports = Reports(server_cancels=True)
    for n in range(1000):
        name = f"item_{n}"
        reports.heard(heard(item(1, 2, name=name)))
        reports.flush_report(flush_report(item(1, 2, name=name)))
        reports.transcript(
            messages.Transcript(session=3, item_id=name, role="assistant", text="x", final=True)
        )
    assert len(reports._reported) == len(reports._heard) == REMEMBERED
    assert len(reports._texts) == REMEMBERED_TEXTS


def test_a_report_that_comes_after_another_session_has_opened_asks_for_nothing() -> None:
    reports = Reports(server_cancels=True)
    reports.reply_state(state(messages.ItemState("resp_1", "item_1", 0, SECOND, False, False)))
    cut = flush_report(item(SECOND // 2, SECOND, done=False))
    sent, record = reports.flush_report(cut, open_session=4)
    assert sent == []
    [report] = record.reports
    assert (report.action, report.heard_ms) == ("none", 500)
    # nor does a later flush ask for anything about the item
    assert reports.flush_report(flush_report(item(SECOND // 2, SECOND), generation=3))[0] == []
