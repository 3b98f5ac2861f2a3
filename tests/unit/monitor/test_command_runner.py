"""A person's commands: which are refused, and what is reported as their outcome."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.owner import StandIn
from services.monitor.command_runner import (
    AWAY_S,
    FOLLOW_S,
    LOOK_S,
    REPORT_S,
    SAME_NS,
    SLEEP_S,
    CommandRunner,
)
from services.monitor.commands import Command, Known, Outcome, control
from shared import messages, registry
from shared.config import Config, Interruption

pytestmark = pytest.mark.unit

AT_NS = 5_000_000_000_000
RATE = 24_000
BY_BUTTON = Config(interruption=Interruption(decide="push_to_talk"))


class Rig:
    """A runner in a conversation in which everything runs."""

    def __init__(self, **known: Any) -> None:
        self.owner = StandIn()
        self.outcomes: list[Outcome] = []
        self.saved: list[messages.Panel] = []
        self.stopped = 0
        fields: dict[str, Any] = {
            "config": Config(),
            "changed": {},
            "alive": {*registry.STAGES, "tools"},
            "away": set(),
            "link": "open",
            "muted": False,
            "calls": set(),
        }
        self.known = Known(**fields | known)
        self.runner = CommandRunner(
            self.owner, messages.Panel(), lambda: self.known, self.saved.append, self._stop
        )

    def _stop(self) -> None:
        self.stopped += 1

    def follow(self, command: str, **fields: Any) -> list[Outcome]:
        """Follow a command; return the outcomes so far."""
        self.runner.follow(Command(command, **fields), self.outcomes.append)  # type: ignore[arg-type]
        return self.outcomes


def flush(event_ns: int = AT_NS) -> messages.Flush:
    return messages.Flush(
        generation=2, session=1, cause="control", event_ns=event_ns,
        received=[], interrupted=[], active=[],
    )  # fmt: skip


def report(*items: tuple[int, int], event_ns: int = AT_NS) -> messages.FlushReport:
    heard = [messages.HeardItem(f"i{n}", 0, h, r, True) for n, (h, r) in enumerate(items)]
    return messages.FlushReport(
        generation=2, session=1, cause="control", event_ns=event_ns, flush_ns=1, received_ns=1,
        silent_ns=1, latency_ns=1, items=heard,
    )  # fmt: skip


def test_an_interruption_is_reported_with_what_was_heard() -> None:
    rig = Rig()
    assert rig.follow("interrupt") == []
    assert rig.owner.published == [messages.Control(command="interrupt")]
    rig.runner.flush(flush())
    rig.runner.flush_report(report((RATE * 5, RATE * 20), (0, RATE)))
    assert rig.outcomes == [Outcome(True, "interrupted: heard 5.0 of 21.0 s")]
    rig.owner.pass_time(REPORT_S)
    rig.owner.pass_time(FOLLOW_S)
    assert len(rig.outcomes) == 1


def test_an_interruption_of_nothing_is_no_refusal() -> None:
    rig = Rig()
    rig.follow("interrupt")
    rig.runner.flush_report(report())
    assert rig.outcomes == [Outcome(True, "nothing was playing")]


def test_an_interrupted_reply_without_sound_is_no_nothing() -> None:
    rig = Rig()
    rig.follow("interrupt")
    rig.runner.flush(msgspec.structs.replace(flush(), active=["resp_1"]))
    rig.runner.flush_report(report())
    assert rig.outcomes == [Outcome(True, "interrupted: it had no sound")]


def test_an_interruption_without_a_playback_is_reported_all_the_same() -> None:
    rig = Rig()
    rig.follow("interrupt")
    rig.runner.flush(flush())
    rig.owner.pass_time(FOLLOW_S)
    assert rig.outcomes == []
    rig.owner.pass_time(REPORT_S)
    assert rig.outcomes == [Outcome(True, "interrupted")]


def test_a_flush_of_another_time_is_not_this_commands() -> None:
    rig = Rig()
    rig.follow("interrupt")
    rig.runner.flush(flush(AT_NS - SAME_NS))
    rig.runner.flush_report(report((1, 2), event_ns=AT_NS + SAME_NS))
    assert rig.outcomes == []
    rig.owner.pass_time(FOLLOW_S)
    [outcome] = rig.outcomes
    assert not outcome.done
    assert "downlink did not follow" in outcome.outcome


def test_the_button_is_confirmed_by_the_decision_that_names_its_time() -> None:
    rig = Rig(config=BY_BUTTON)
    rig.follow("talk")
    rig.runner.turn_decision(messages.TurnDecision(session=1, talk=True, talk_ns=7))
    rig.runner.turn_decision(messages.TurnDecision(session=1, talk=False, talk_ns=AT_NS))
    assert rig.outcomes == []
    rig.runner.turn_decision(messages.TurnDecision(session=1, talk=True, talk_ns=AT_NS))
    assert rig.outcomes == [Outcome(True, "speak now")]


@pytest.mark.parametrize(
    ("command", "fields", "known", "why"),
    [
        ("talk", {}, {}, "interruption.decide is server"),
        ("release", {}, {}, "interruption.decide is server"),
        ("talk", {}, {"config": BY_BUTTON, "muted": True}, "muted"),
        ("interrupt", {}, {"alive": {"uplink"}}, "downlink does not run"),
        ("type", {"text": "a"}, {"alive": set()}, "downlink and uplink does not run"),
        ("type", {"text": "a"}, {"link": "waiting"}, "no connection to the server"),
        ("say", {"text": "a"}, {"link": ""}, "link is away"),
        ("type", {"text": " "}, {}, "no text"),
        ("mute", {}, {"alive": {"uplink"}}, "echo does not run"),
        ("volume", {}, {}, "no value"),
        ("volume", {"value": 101}, {}, "volume 101 %: expected 0 to 100 percent"),
        ("set", {"id": "speed", "text": "9"}, {}, "(accepted: 0.25 to 1.5)"),
        ("set", {"id": "turn_detection.type", "text": "none"}, {}, '"semantic_vad")'),
        ("set", {"id": "turn_detection.threshold", "text": "1"}, {"config": BY_BUTTON}, "cannot"),
        ("set", {"id": "noise_reduction", "text": "much"}, {}, '"near_field"'),
        ("set", {"id": "mcp", "text": "[]"}, {}, "cannot be changed here (accepted: voice, "),
        ("set", {"id": "link.url", "text": "wss://x"}, {}, "cannot be changed here"),
        ("unset", {"id": "speed"}, {}, "speed was not changed"),
        ("approve", {"id": "call_1"}, {}, "no call 'call_1' waits"),
        ("deny", {"id": "call_1"}, {"calls": {"call_2"}}, "no call 'call_1' waits"),
    ],
)
def test_a_command_without_an_effect_is_refused_with_the_reason(
    command: str, fields: dict[str, Any], known: dict[str, Any], why: str
) -> None:
    rig = Rig(**known)
    [outcome] = rig.follow(command, **fields)
    assert not outcome.done
    assert why in outcome.outcome
    assert rig.owner.published == []


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("say", {"text": "a", "role": "system"}),
        ("type", {"text": "a"}),
        ("approve", {"id": "call_1"}),
        ("deny", {"id": "call_1"}),
        ("wake", {}),
    ],
)
def test_every_other_command_is_passed_on(command: str, fields: dict[str, Any]) -> None:
    rig = Rig(calls={"call_1"})
    [outcome] = rig.follow(command, **fields)
    assert outcome.done
    assert rig.owner.published == [messages.Control(command=command, **fields)]  # type: ignore[arg-type]
    assert control(Command(command, **fields)) in rig.owner.published  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "fields", "stage"),
    [
        ("interrupt", {}, "downlink"),
        ("type", {"text": "a"}, "uplink"),
        ("wake", {}, "downlink"),
        ("approve", {"id": "call_1"}, "tools"),
    ],
)
def test_a_command_waits_for_a_stage_that_is_being_started_again(
    command: str, fields: dict[str, Any], stage: str
) -> None:
    rig = Rig(calls={"call_1"}, away={stage, "echo"})
    rig.follow(command, **fields)
    rig.owner.pass_time(LOOK_S)
    assert (rig.owner.published, rig.outcomes) == ([], [])
    rig.known.away = {"echo"}
    rig.owner.pass_time(LOOK_S)
    assert rig.owner.published == [messages.Control(command=command, **fields)]  # type: ignore[arg-type]


def test_a_command_does_not_wait_for_ever_or_for_another_stage() -> None:
    rig = Rig(away={"downlink"})
    rig.follow("sleep")
    for _ in range(round(AWAY_S / LOOK_S)):
        assert rig.outcomes == []
        rig.owner.pass_time(LOOK_S)
    [outcome] = rig.outcomes
    assert not outcome.done
    assert "downlink was being started again" in outcome.outcome
    rig.known.away = {"tools", "uplink"}
    rig.follow("sleep")
    assert rig.owner.published == [messages.Control(command="sleep")]
    # A stage that has not come back is named once its last health is old.
    rig.known.away = {"downlink"}
    rig.follow("sleep")
    rig.known.alive, rig.known.away = {"uplink"}, set()
    rig.owner.pass_time(LOOK_S)
    assert "downlink does not run" in rig.outcomes[-1].outcome


def test_a_command_waits_for_a_stage_that_a_new_monitor_has_not_heard_of() -> None:
    rig = Rig(alive={"uplink"}, away={"downlink"})
    rig.follow("sleep")
    assert rig.outcomes == []
    rig.known.alive, rig.known.away = {"uplink", "downlink"}, set()
    rig.owner.pass_time(LOOK_S)
    assert rig.owner.published == [messages.Control(command="sleep")]


def test_the_switches_are_a_state() -> None:
    rig = Rig()
    rig.follow("mute")
    rig.follow("volume", value=30)
    rig.runner.begin()
    want = [messages.Panel(muted=True), messages.Panel(muted=True, volume=30)]
    assert rig.owner.published == rig.saved == [*want, messages.Panel(volume=30)]
    assert [outcome.outcome for outcome in rig.outcomes] == ["muted", "volume 30 %"]


def test_a_changed_setting_holds_until_the_conversation_ends() -> None:
    rig = Rig()
    rig.follow("set", id="speed", text="1.25")
    rig.follow("set", id="instructions", text="")
    rig.known.changed = rig.runner.panel.session
    rig.follow("unset", id="instructions")
    assert [outcome.outcome for outcome in rig.outcomes] == [
        "speed: changed until this conversation ends",
        "instructions: changed until this conversation ends",
        "instructions: as in config.toml",
    ]
    assert rig.saved[1].session == {"speed": "1.25", "instructions": ""}
    assert rig.saved[2] == messages.Panel(session={"speed": "1.25"})
    rig.runner.begin()
    assert rig.owner.published == rig.saved
    assert rig.saved[-1] == messages.Panel()


def test_a_person_can_end_the_conversation() -> None:
    rig = Rig(alive=set())
    [outcome] = rig.follow("stop")
    assert outcome.done
    assert rig.stopped == 1


def test_the_outcome_of_sleep_and_wake_is_what_the_conversation_does() -> None:
    rig = Rig()
    assert rig.follow("sleep") == []
    assert rig.owner.published == [messages.Control(command="sleep")]
    rig.runner.sleep(messages.Sleep(asleep=True, cause="asked"))
    assert rig.outcomes == [Outcome(done=True, outcome="asleep")]
    rig.known.link = "asleep"
    assert rig.follow("sleep")[1:] == [Outcome(done=True, outcome="asleep already")]
    assert rig.follow("wake")[2:] == []
    rig.runner.sleep(messages.Sleep(asleep=False))
    assert rig.outcomes[2:] == [Outcome(done=True, outcome="awake")]
    rig.known.link = "open"
    assert rig.follow("wake")[3:] == [Outcome(done=True, outcome="awake already")]


@pytest.mark.parametrize("waker", ["wake", "talk", "say", "type"])
def test_a_later_command_calls_off_a_sleep_that_has_not_begun(waker: str) -> None:
    rig = Rig(config=BY_BUTTON)
    rig.follow("sleep")
    # The repeated state that the conversation is awake calls off nothing.
    rig.runner.sleep(messages.Sleep(asleep=False))
    assert rig.outcomes == []
    rig.follow(waker, **({"text": "Hello"} if waker in ("say", "type") else {}))
    assert rig.outcomes[0] == Outcome(done=False, outcome=f"called off by {waker}")
    rig.owner.pass_time(FOLLOW_S)
    rig.owner.pass_time(SLEEP_S)
    assert len(rig.outcomes) == 2  # one for each command


def test_a_sleep_that_downlink_does_not_follow_is_refused() -> None:
    rig = Rig()
    rig.follow("sleep")
    rig.owner.pass_time(SLEEP_S)
    assert [outcome.done for outcome in rig.outcomes] == [False]
