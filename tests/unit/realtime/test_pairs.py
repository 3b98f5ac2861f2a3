"""Which frames of the microphone go up together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared import messages as m
from shared.audio import pcm
from shared.realtime.pairs import AFTER_NS, GONE_NS, Pairs, Stretch

FRAME_NS = 20_000_000
T0 = 10**12


def frame(number: int, *, stream: int = 1) -> m.MicClean:
    return m.MicClean(
        stream=stream,
        position=number * pcm.FRAME,
        captured_ns=T0 + number * FRAME_NS,
        overflows=0,
        payload=bytes([number % 256]) * pcm.FRAME_BYTES,
    )


def quiet(now_ns: int) -> Pairs:
    """Give one that knows that nobody speaks."""
    pairs = Pairs()
    pairs.speech(False, now_ns - 2 * AFTER_NS)
    assert pairs.speech(False, now_ns) == []
    return pairs


def alone(made: m.MicClean) -> Stretch:
    return Stretch(made.payload, made.captured_ns, 1)


def test_while_nobody_speaks_two_go_together() -> None:
    pairs = quiet(T0)
    a, b, c = frame(0), frame(1), frame(2)
    assert pairs.take(a, T0) == []
    assert pairs.take(b, T0) == [Stretch(a.payload + b.payload, a.captured_ns, 2)]
    assert pairs.take(c, T0) == []


def test_who_begins_to_speak_waits_for_nothing() -> None:
    pairs = quiet(T0)
    assert pairs.take(frame(0), T0) == []
    assert pairs.speech(True, T0 + 1) == [alone(frame(0))]
    assert pairs.take(frame(1), T0 + 2) == [alone(frame(1))]
    # nor when they end
    pairs.speech(False, T0 + 3)
    assert pairs.take(frame(2), T0 + AFTER_NS) == [alone(frame(2))]
    assert pairs.take(frame(3), T0 + AFTER_NS + 2) == []


def test_without_vad_each_goes_by_itself() -> None:
    assert Pairs().take(frame(0), T0) == [alone(frame(0))]
    pairs = quiet(T0)
    assert pairs.take(frame(0), T0 + GONE_NS) == [alone(frame(0))]
    # a vad that is just starting does not know whether someone speaks
    pairs = Pairs()
    pairs.speech(False, T0)
    assert pairs.take(frame(0), T0 + 1) == [alone(frame(0))]


def test_what_is_not_of_a_piece_is_not_joined() -> None:
    for other in (frame(2), frame(0), frame(1, stream=2)):
        pairs = quiet(T0)
        assert pairs.take(frame(0), T0) == []
        assert pairs.take(other, T0) == [alone(frame(0))]
        assert pairs.all() == [alone(other)]
        assert pairs.all() == []


@given(st.lists(st.sampled_from(["take", "lose", "speak", "end", "wait", "all"]), max_size=60))
def test_every_frame_goes_once_in_its_order(steps: list[str]) -> None:
    pairs, now, number = Pairs(), T0, 0
    wanted, sent = b"", b""
    for step in steps:
        now += FRAME_NS
        made: list[Stretch] = []
        match step:
            case "take":
                made = pairs.take(frame(number), now)
                wanted += frame(number).payload
                number += 1
            case "lose":
                number += 1
            case "speak" | "end":
                made = pairs.speech(step == "speak", now)
            case "wait":
                now += AFTER_NS
            case "all":
                made = pairs.all()
        assert all(len(s.payload) == s.frames * pcm.FRAME_BYTES for s in made)
        sent += b"".join(s.payload for s in made)
        # never more than one is kept
        assert len(wanted) - len(sent) in (0, pcm.FRAME_BYTES)
    sent += b"".join(s.payload for s in pairs.all())
    assert sent == wanted
