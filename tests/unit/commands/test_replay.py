"""How a replay is compared with its recording, and when a replayed stage starts."""

from __future__ import annotations

import pytest

from commands.replay import differences
from commands.replay.driving import arguments, functions, seeds, started_ns
from shared import messages, registry
from shared.messages import Stamp
from shared.recording import Recorded

pytestmark = pytest.mark.unit

MS, S = 1_000_000, 1_000_000_000
SPAN = differences.Span(0, 100 * S)
IGNORED = frozenset(differences.IGNORED)


def at(at_ns: int, message: messages.Message, topic: str = "", epoch: int = 1) -> Recorded:
    row = registry.BY_NAME[topic] if topic else registry.of(type(message))
    return Recorded(row, message, Stamp(seq=0, epoch=epoch, t=at_ns))


def flush(generation: int, event_ns: int = 1) -> messages.Flush:
    return messages.Flush(
        generation=generation, session=1, cause="judged", event_ns=event_ns, received=[],
        interrupted=["r1"], active=[],
    )  # fmt: skip


def said(before: list[Recorded], after: list[Recorded]) -> list[str]:
    return [each.text for each in differences.differences(before, after, IGNORED, SPAN)]


def test_times_of_the_stages_own_clock_are_no_difference() -> None:
    assert said([at(5 * S, flush(1, 7))], [at(6 * S, flush(1, 8))]) == []


def test_a_difference_names_the_message_and_the_field() -> None:
    before = [at(5 * S, flush(1)), at(6 * S, flush(2))]
    after = [at(5 * S, flush(1)), at(6 * S, flush(3))]
    assert said(before, after) == ["message 2 generation: recorded 2, replayed 3"]


def test_a_field_inside_an_event_is_named_by_its_path() -> None:
    def event(ms: int) -> Recorded:
        text = b'{"type": "conversation.item.truncate", "audio_end_ms": %d}' % ms
        return at(5 * S, messages.ClientEvent(session=1, payload=text))

    assert said([event(100)], [event(90)]) == [
        "message 1 payload.audio_end_ms: recorded 100, replayed 90"
    ]


def test_a_message_too_few_or_too_many_does_not_shift_the_others() -> None:
    all_three = [at(n * S, flush(n)) for n in (5, 6, 7)]
    [missing] = said(all_three, [all_three[0], all_three[2]])
    assert missing.startswith("message 2 is missing")
    [more] = said(all_three[:1], all_three[:2])
    assert more.startswith("was not recorded")


def test_a_state_counts_if_it_held_for_a_second() -> None:
    def state(at_ns: int, active: list[str]) -> Recorded:
        return at(at_ns, messages.ReplyState(generation=1, session=1, active=active, items=[]))

    before = [state(5 * S, ["a"]), state(5 * S + 300 * MS, ["a", "b"]), state(8 * S, [])]
    after = [state(5 * S, ["a"]), state(5 * S + 310 * MS, ["a", "b"]), state(8 * S, [])]
    assert said(before, after) == []
    # Which short-lived states a timer shows depends on the ms.
    assert said(before, after[1:]) == []
    assert said(before, [after[0], after[2]]) != []


def test_the_last_second_is_not_compared() -> None:
    before = [at(5 * S, flush(1))]
    assert said(before, [*before, at(99 * S + 500 * MS, flush(2))]) == []
    # Shortly before it, a message may be there on one side only.
    assert said(before, [*before, at(99 * S - 50 * MS, flush(2))]) == []
    assert said(before, [*before, at(98 * S, flush(2))]) != []


def test_a_stage_starts_a_whole_number_of_beats_before_its_earliest_beat() -> None:
    def beat(at_ns: int) -> Recorded:
        health = messages.Health(pid=1, ok=True, state="", counters={})
        return at(at_ns, health, "downlink.health")

    # The first beat was 10 ms late.
    recorded = [at(10 * S, flush(1)), beat(10 * S + 710 * MS), beat(11 * S + 700 * MS)]
    assert started_ns("downlink", recorded) == 9 * S + 700 * MS
    assert started_ns("uplink", recorded) == 10 * S


def test_the_numbers_of_a_stage_go_on_as_they_did() -> None:
    state = messages.ReplyState(generation=70, session=1, active=[], items=[])
    recorded = [at(1, messages.LinkState(state="open"), epoch=5), at(2, state, epoch=9)]
    assert seeds("downlink", recorded) == {"downlink": 8, "generation": 69}
    assert seeds("uplink", recorded) == {}


def test_settings_become_options() -> None:
    options = arguments({"session.voice": "cedar", "link.session_limit_s": 9.0, "a.b": ["x"]})
    assert options == [
        "--set", "session.voice=cedar", "--set", "link.session_limit_s=9.0", "--set", 'a.b=["x"]',
    ]  # fmt: skip


def test_uplink_waits_for_functions_only_if_some_were_offered() -> None:
    nothing, offer = messages.ToolOffer(names=[]), messages.ToolOffer(names=["clock"])
    none = ["--set", "tools.modules=[]", "--set", "tools.mcp_file="]
    assert functions([]) == functions([at(1, nothing)]) == none
    waits = functions([at(1, nothing), at(2, offer)])
    assert waits == ["--set", 'tools.modules=["recorded"]', "--set", "tools.mcp_file="]


def test_messages_that_the_recorder_missed_are_counted() -> None:
    def seen(seq: int, epoch: int = 1) -> Recorded:
        row = registry.of(messages.LinkState)
        return Recorded(row, messages.LinkState(state="open"), Stamp(seq=seq, epoch=epoch, t=seq))

    # The publisher was restarted: that is no gap.
    assert differences.missing([seen(5), seen(6), seen(9), seen(0, 2), seen(2, 2)]) == 3


def test_a_frame_that_a_late_recorder_missed_is_no_difference() -> None:
    def frame(seq: int) -> Recorded:
        message = messages.SpeakerFrame(stream=1, position=0, played_ns=seq, payload=b"ab")
        return Recorded(registry.of(type(message)), message, Stamp(seq=seq, epoch=1, t=seq * S))

    every = [frame(seq) for seq in (1, 2, 3)]
    assert said([every[0], every[2]], every) == []
    assert said(every, [every[0], every[2]]) != []
    assert said(every[:2], every) != []
