"""The parts of ``bargein check`` that need no process: verdicts and malformed messages."""

from __future__ import annotations

import pytest

from commands.check.bench import Arrival, Bench, twin
from commands.check.capture import Capture
from commands.check.malformed import malformed, minimal
from commands.check.output import LINES, excerpt
from commands.check.playback import Playback
from commands.check.rules import (
    STUMBLED,
    Broken,
    Doubtful,
    NotTried,
    Outcome,
    Rule,
    judge,
    needed,
    not_tried,
)
from shared import codec, messages, registry

pytestmark = pytest.mark.unit

TYPES = sorted({topic.type for topic in registry.TOPICS}, key=lambda kind: kind.__name__)
STAMP = messages.Stamp(seq=0, epoch=1, t=0)


def broken() -> str:
    raise Broken("it was loud")


def impossible() -> str:
    raise NotTried("it does not run")


def doubtful() -> str:
    raise Doubtful("its stamps are early")


def stumbling() -> str:
    return str(next(iter(())))


@pytest.mark.parametrize(
    ("check", "outcome", "seen"),
    [
        (lambda: "1 s", Outcome.OK, "1 s"),
        (broken, Outcome.FAILED, "it was loud"),
        (doubtful, Outcome.WARNING, "its stamps are early"),
        (stumbling, Outcome.FAILED, STUMBLED),
        (impossible, Outcome.NOT_TRIED, "it does not run"),
        (lambda: needed(None), Outcome.NOT_TRIED, "an earlier rule failed, and this one goes on"),
        (lambda: needed("found"), Outcome.OK, "found"),
    ],
)
def test_a_rule_ends_in_a_verdict(check: object, outcome: Outcome, seen: str) -> None:
    assert callable(check)
    verdict = judge(Rule("silence", "falls silent", check))
    assert (verdict.rule, verdict.outcome) == ("silence", outcome)
    assert verdict.seen.startswith(seen)
    assert verdict.line().startswith(outcome.value)


def test_a_rule_that_is_not_tried_says_why() -> None:
    line = not_tried(Rule("silence", "falls silent", broken), "the stage did not start").line()
    assert line == "not tried  silence       falls silent: the stage did not start"


def test_a_message_has_a_name_for_observers_and_one_for_consumers() -> None:
    assert (twin("flush"), twin("!flush")) == ("!flush", "flush")


@pytest.mark.parametrize("kind", TYPES)
def test_a_minimal_message_is_valid(kind: type[messages.Message]) -> None:
    message = minimal(kind)
    assert codec.decode(kind, *codec.encode(message, STAMP)) == (message, STAMP)


@pytest.mark.parametrize("kind", TYPES)
def test_a_malformed_message_is_refused_by_our_own_stages(kind: type[messages.Message]) -> None:
    for frames in malformed(kind):
        if len(frames) == 2:
            with pytest.raises(codec.BadMessage):
                codec.decode(kind, *frames)


#: What Node prints when an error ends it: the error, where it happened, Node's version.
NODE = [
    "file:///playback.mjs:10",
    'socket.connect("nowhere");',
    "TypeError: Invalid URL",
    *(f"    at function{n} (file:///playback.mjs:{n}:1)" for n in range(10)),
    "",
    "Node.js v20.20.2",
]


def test_an_excerpt_of_the_output_has_the_error() -> None:
    shown = excerpt("\n".join(["playback: message refused: Error", *NODE]))
    assert shown.split("\n    ")[1:][0] == "TypeError: Invalid URL"
    assert len(shown.split("\n    ")[1:]) == LINES


def test_an_excerpt_without_an_error_has_the_last_lines() -> None:
    assert excerpt("") == " it printed nothing"
    assert excerpt("one\n\n") == " one"
    assert excerpt("\n".join(map(str, range(20)))).split("\n    ")[1:] == [
        str(n) for n in range(20 - LINES, 20)
    ]
    traceback = ["Traceback (most recent call last):", "  File", "    line", "ValueError: x"]
    assert excerpt("\n".join(traceback)).endswith("ValueError: x")


def test_a_playback_without_a_device_fails_at_a_rule_and_not_in_the_kit() -> None:
    with Bench("playback", ["true"]) as bench:
        bench.take("downlink", "vad")
        check = Playback(bench)
        rules = {rule.name: rule for rule in check.own_rules()}
        check._played = item = check._say(0.1)
        seen = messages.HeardItem(item.item_id, 0, 0, 2400, True)
        heard = messages.Heard(generation=1, session=1, playing=True, items=[seen])
        bench.heard.append(Arrival("heard", False, heard, STAMP, 0, False))
        verdict = judge(rules["heard"])
        assert verdict.outcome is Outcome.FAILED
        assert "nothing came from the speaker" in verdict.seen
        # no rule that goes on from there stumbles over it
        for name in ("playhead", "report", "heard first", "frames"):
            assert STUMBLED not in judge(rules[name]).seen, name


@pytest.mark.parametrize(
    ("age_ms", "outcome"),
    [(0, Outcome.FAILED), (14, Outcome.FAILED), (25, Outcome.OK), (320, Outcome.WARNING)],
)
def test_a_microphone_says_when_its_frames_were_captured(age_ms: int, outcome: Outcome) -> None:
    with Bench("capture", ["true"]) as bench:
        [rule] = [rule for rule in Capture(bench).own_rules() if rule.name == "captured_ns"]
        for at in range(50):
            captured_ns = 10**9 + at * 20_000_000
            stamp = messages.Stamp(seq=at, epoch=1, t=captured_ns + age_ms * 1_000_000)
            frame = messages.MicFrame(
                stream=1,
                position=480 * at,
                captured_ns=captured_ns,
                overflows=0,
                payload=bytes(960),
            )
            bench.heard.append(Arrival("mic.frame", False, frame, stamp, stamp.t, False))
        assert judge(rule).outcome is outcome
