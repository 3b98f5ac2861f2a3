"""One response on a simulated clock: the order of its events, its pace, its end, its faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.emulator.conversation import Conversation
from services.emulator.options import ODD_DELTAS, Faults, Options, Stall
from services.emulator.plans import Call, Part, Request, Say, Write
from services.emulator.replies import tone
from services.emulator.responses import Response
from tests.support.emulator import (
    Event,
    audio_of,
    kinds,
    numbered,
    of,
    one,
    patiently,
    said,
    validate,
)

PCM = {"type": "audio/pcm", "rate": 24000}
REQUEST = Request("audio", "marin", PCM, "inf")
DELTA = "response.output_audio.delta"
WORDS = "response.output_audio_transcript.delta"
PARTS = (DELTA, "response.output_audio.done")
LADDER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


class Run:
    """A response and every event it returned, with the time since its start, s."""

    def __init__(self, *plan: Part, **changes: Any) -> None:
        request = changes.pop("request", REQUEST)
        self.conversation = Conversation("conv_1")
        aside = changes.pop("aside", False)
        self.response = Response(
            "resp_1",
            request,
            plan,
            replace(Options(), **changes),
            None if aside else self.conversation,
            numbered(),
            0.0,
        )
        self.timed: list[tuple[float, Event]] = []

    def until(self, end: float = 1e9) -> list[Event]:
        """Advance to each time at which events are due, up to ``end``, and return the events."""
        first = len(self.timed)
        while (due := self.response.due) is not None and due <= end:
            for event in self.response.advance(due):
                validate({"event_id": "event_1", **event})
                self.timed.append((due, event))
        return [event for _, event in self.timed[first:]]

    def cancel(self, at: float, reason: str = "turn_detected") -> None:
        self.until(at)
        self.response.cancel(at, reason)

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.timed]


TEN = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SPEECH = said(*TEN, word_ms=200)


def test_the_ladder_has_the_order_observed_on_the_live_service() -> None:
    run = Run(Say(SPEECH))
    assert kinds(run.until()) == LADDER
    assert audio_of(run.events) == SPEECH.read(0, SPEECH.samples)


def test_transcript_deltas_stand_ahead_of_the_audio_that_speaks_them() -> None:
    run = Run(Say(SPEECH))
    sent, words = 0, 0
    for event in run.until():
        if event["type"] == WORDS:
            words += len(event["delta"].split())
        elif event["type"] == DELTA:
            sent += len(event["delta"]) * 3 // 4
            # A word lasts 200 ms: 9600 bytes.
            assert (words - 1) * 9600 < sent <= words * 9600 + 12000
    assert "".join(e["delta"] for e in of(run.events, WORDS)) == SPEECH.transcript
    done = one(run.events, "response.output_audio_transcript.done")
    assert done["transcript"] == SPEECH.transcript
    assert len(of(run.events, WORDS)) > 5


@pytest.mark.parametrize("pace", [1.0, 4.0, 8.0])
def test_audio_comes_at_its_pace(pace: float) -> None:
    run = Run(Say(SPEECH), pace=pace)
    run.until()
    sent = 0.0
    for at, event in run.timed:
        if event["type"] == DELTA:
            assert at == pytest.approx(sent / pace, abs=1e-6)
            sent += len(event["delta"]) * 3 // 4 / 48000


def test_a_burst_comes_all_at_once() -> None:
    run = Run(Say(tone(180)), pace=0.0)
    assert kinds(run.until(0.0)) == LADDER


def test_the_first_deltas_are_smaller() -> None:
    run = Run(Say(SPEECH))
    sizes = [len(e["delta"]) * 3 // 4 for e in of(run.until(), DELTA)]
    assert sizes[:2] == [4800, 12000]
    assert set(sizes[1:-1]) == {12000}


def test_odd_deltas_join_to_the_same_audio() -> None:
    run = Run(Say(SPEECH), delta_bytes=ODD_DELTAS, cycle_deltas=True)
    run.until()
    sizes = [len(audio_of([e])) for e in of(run.events, DELTA)]
    assert sizes[:7] == list(ODD_DELTAS)
    assert audio_of(run.events) == SPEECH.read(0, SPEECH.samples)


def test_latency_is_before_the_first_delta() -> None:
    run = Run(Say(SPEECH), latency_ms=300)
    assert kinds(run.until(0.149)) == ["response.created"]
    assert kinds(run.until(0.299)) == LADDER[1:4]
    assert of(run.until(0.3), DELTA)


def test_a_stall_parts_the_audio_and_no_more() -> None:
    run = Run(Say(SPEECH), faults=Faults(stall=Stall(after_ms=600, for_ms=5000)))
    smooth = Run(Say(SPEECH))
    run.until()
    smooth.until()
    assert [e for _, e in run.timed] == [e for _, e in smooth.timed]
    sent = 0
    for (at, event), (usual, _) in zip(run.timed, smooth.timed, strict=True):
        if event["type"] == DELTA:
            assert at - usual == pytest.approx(5.0 if sent >= 600 * 48 else 0.0)
            sent += len(event["delta"]) * 3 // 4


def test_the_time_it_plays_until_follows_a_stall() -> None:
    run = Run(Say(SPEECH), faults=Faults(stall=Stall(after_ms=600, for_ms=5000)))
    run.until()
    # The audio before the stall (600 ms, which are whole deltas) has played when the rest arrives.
    rest_at = next(at for at, e in run.timed if e["type"] == DELTA and at >= 5)
    before = sum(len(audio_of([e])) for at, e in run.timed if e["type"] == DELTA and at < 5)
    assert run.response.plays_until == pytest.approx(rest_at + 2.0 - before / 48000, abs=0.001)
    assert Run(Say(SPEECH)).response.plays_until == 0.0


@pytest.mark.parametrize("reason", ["turn_detected", "client_cancelled"])
def test_a_cancel_closes_what_is_open_in_one_burst(reason: str) -> None:
    run = Run(Say(SPEECH))
    run.cancel(0.2, reason)
    seen = len(run.timed)
    assert kinds(run.until()) == LADDER[4:]
    assert {at for at, _ in run.timed[seen:]} == {0.2}
    done = run.events[-1]["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": reason}
    assert done["output"][0]["status"] == "incomplete"
    partial = "".join(e["delta"] for e in of(run.events, WORDS))
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": partial}]
    assert 0 < len(partial) < len(SPEECH.transcript)
    assert done["usage"]["output_token_details"]["audio_tokens"] > 0
    assert run.response.sent_ms * 48 == len(audio_of(run.events))


def test_a_cancel_before_the_first_item_leaves_only_the_done() -> None:
    run = Run(Say(SPEECH), latency_ms=500)
    run.cancel(0.1)
    assert kinds(run.events + run.until()) == ["response.created", "response.done"]
    assert run.conversation.items == []


def test_a_cancel_before_the_first_audio_closes_an_empty_item() -> None:
    run = Run(Say(SPEECH), latency_ms=500)
    run.cancel(0.3)
    assert kinds(run.until()) == LADDER[4:]
    assert not audio_of(run.events)


def test_late_deltas_come_between_the_cancel_and_the_done() -> None:
    run = Run(Say(SPEECH), faults=Faults(late_ms=150))
    run.cancel(0.1)
    late = run.until()
    assert kinds(late) == LADDER[4:]
    stale = len(audio_of(late))
    # In 150 ms the emulator sends 600 ms of audio, four times as fast as real time; one delta more
    # or less.
    assert abs(stale - 600 * 48) <= 12000
    assert late[0]["type"] in (DELTA, WORDS)
    assert late[-1]["type"] == "response.done"
    timeline = run.response.spoken[0].timeline
    assert timeline is not None
    # The late audio is not part of the item.
    assert timeline.sent * 2 == len(audio_of(run.events)) - stale


def test_late_deltas_come_after_the_done() -> None:
    run = Run(Say(SPEECH), faults=Faults(late_after_ms=150))
    run.cancel(0.1)
    late = run.until()
    done = [e["type"] for e in late].index("response.done")
    assert kinds(late) == LADDER[4:]
    assert abs(len(audio_of(late[done:])) - 600 * 48) <= 12000
    assert not audio_of(late[:done])
    assert late[-1]["type"] in (DELTA, WORDS)


def test_without_the_fault_nothing_is_late_however_late_the_cancel_is() -> None:
    run = Run(Say(SPEECH))
    run.until(0.1)
    # The event loop was slow, so that deltas are overdue. They must not follow the cancel.
    run.response.cancel(0.4, "turn_detected")
    assert not audio_of(run.until())


def test_two_items_overlap_and_play_in_order() -> None:
    first, second = said("well", "then"), said("it", "is", "so")
    run = Run(Say(first, "commentary"), Say(second, "final_answer"))
    events = run.until()
    items = [e["item"]["id"] for e in of(events, "response.output_item.added")]
    order = [(e["type"], e["item_id"]) for e in events if e["type"] in PARTS]
    closed = order.index(("response.output_audio.done", items[0]))
    # The first item is closed only after the second item's audio has begun.
    assert order[closed - 1] == (DELTA, items[1])
    deltas = [item for kind, item in order if kind == DELTA]
    assert deltas == sorted(deltas, key=items.index)
    assert audio_of(events, item_id=items[1]) == second.read(0, second.samples)
    assert [i["phase"] for i in events[-1]["response"]["output"]] == ["commentary", "final_answer"]


def test_a_cancel_while_two_items_are_open_closes_both() -> None:
    run = Run(Say(said("well", "then")), Say(SPEECH), delta_bytes=(2400,))
    while len(of(run.until(run.response.due or 0), DELTA)) == 0:
        pass
    items = run.response.spoken
    while len(items) < 2:
        run.until(run.response.due or 0)
    run.cancel(run.timed[-1][0])
    done = run.until()[-1]["response"]
    assert [item["status"] for item in done["output"]] == ["completed", "incomplete"]
    assert len(of(run.events, "response.output_item.done")) == 2


def test_text_is_written_word_by_word() -> None:
    run = Run(Write("Hello there, you."), request=replace(REQUEST, modality="text"))
    assert kinds(run.until()) == [
        *LADDER[:4], "response.output_text.done", *LADDER[6:]
    ]  # fmt: skip
    deltas = [e["delta"] for e in of(run.events, "response.output_text.delta")]
    assert "".join(deltas) == "Hello there, you."
    assert len(deltas) == 3
    for event in of(run.events, "response.output_text.delta"):
        assert event["obfuscation"]
        assert (len(event["delta"]) + len(event["obfuscation"])) % 16 == 0
    output = run.events[-1]["response"]["output"][0]["content"]
    assert output == [{"type": "output_text", "text": "Hello there, you."}]


def test_a_function_call_streams_its_arguments() -> None:
    run = Run(Call("roll", '{"dice": 2, "sides": 6}', "call_1"))
    assert kinds(run.until()) == [
        *LADDER[:3], "response.function_call_arguments.done", *LADDER[7:]
    ]  # fmt: skip
    done = one(run.events, "response.function_call_arguments.done")
    assert done["arguments"] == '{"dice": 2, "sides": 6}'
    item = run.events[-1]["response"]["output"][0]
    assert (item["name"], item["call_id"], item["status"]) == ("roll", "call_1", "completed")


def test_a_call_that_is_cancelled_ends_incomplete() -> None:
    run = Run(Call("roll", '{"dice": 2, "sides": 6}', "call_1"))
    run.cancel(0.1)
    item = run.until()[-1]["response"]["output"][0]
    assert item["status"] == "incomplete"
    assert '{"dice": 2, "sides": 6}'.startswith(item["arguments"])
    assert item["arguments"] != '{"dice": 2, "sides": 6}'


def test_a_limit_of_tokens_ends_the_response_incomplete() -> None:
    run = Run(Say(SPEECH), request=replace(REQUEST, max_output_tokens=10))
    done = run.until()[-1]["response"]
    # One token is 50 ms of audio.
    assert len(audio_of(run.events)) == 500 * 48
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert done["output"][0]["content"][0]["transcript"] == "one two three"


def test_out_of_band_there_are_no_items_of_the_conversation() -> None:
    run = Run(Say(SPEECH), aside=True)
    assert kinds(run.until()) == [k for k in LADDER if not k.startswith("conversation.")]
    assert run.events[-1]["response"]["conversation_id"] is None
    assert run.conversation.items == []


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_g711_has_the_same_length(kind: str) -> None:
    run = Run(Say(SPEECH), request=replace(REQUEST, format={"type": kind}), delta_bytes=(801,))
    run.until()
    assert abs(len(audio_of(run.events)) - 2000 * 8) <= 1
    assert abs(run.response.sent_ms - 2000) <= 1
    assert run.timed[-1][0] == pytest.approx(0.475, abs=0.05)


@patiently
@given(
    st.lists(st.integers(601, 20000), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 0.7), max_size=6),
    st.none() | st.floats(0.0, 0.7),
    st.sampled_from([0, 60]),
    st.sampled_from([0, 60]),
    st.booleans(),
)
def test_every_item_is_closed_once_and_no_audio_is_lost(
    sizes: list[int],
    at: list[float],
    cancel: float | None,
    late: int,
    late_after: int,
    two: bool,
) -> None:
    plan = [Say(said("well", "then", word_ms=50)), Say(SPEECH)] if two else [Say(SPEECH)]
    faults = Faults(late_ms=late, late_after_ms=late_after)
    run = Run(*plan, delta_bytes=tuple(sizes), cycle_deltas=True, faults=faults)
    for moment in sorted([*at, *([cancel] if cancel is not None else [])]):
        for event in run.response.advance(moment):
            run.timed.append((moment, event))
        if moment == cancel and run.response.active and not run.response.cancelled():
            run.response.cancel(moment, "client_cancelled")
    run.until()
    events = run.events
    done = one(events, "response.done")["response"]
    assert events[0]["type"] == "response.created"
    for item in run.response.spoken:
        kinds_of = [e["type"] for e in events if e.get("item_id") == item.id]
        assert kinds_of.count("response.output_audio.done") == 1
        before = events[: events.index(one(events, "response.done"))]
        text = "".join(e["delta"] for e in of(before, WORDS) if e["item_id"] == item.id)
        assert item.content == [{"type": "output_audio", "transcript": text}]
        assert item.timeline is not None
        audio = audio_of(events, item_id=item.id)
        assert (
            audio == item.timeline.utterance.read(0, item.timeline.utterance.samples)[: len(audio)]
        )
        if not run.response.cancelled():
            assert len(audio) == 2 * item.timeline.sent == 2 * item.timeline.utterance.samples
    assert done["status"] == ("cancelled" if run.response.cancelled() else "completed")
    if not (late_after and run.response.cancelled()):
        assert events[-1]["type"] == "response.done"
