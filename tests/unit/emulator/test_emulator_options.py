"""The command line: every option, and one line for every option that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.emulator.arguments import parse
from services.emulator.options import (
    DEFAULT_URL,
    GARBAGE,
    ODD_DELTAS,
    BadOption,
    Faults,
    Options,
    Stall,
)


def test_without_arguments_the_defaults_hold() -> None:
    assert parse([], {}) == Options()
    assert Options().address == ("127.0.0.1", 8790)
    assert Options().path == "/v1/realtime"


def test_the_address_comes_from_the_option_then_the_environment() -> None:
    environ = {"BARGEIN_LINK__URL": "ws://localhost:1234/v1/realtime"}
    assert parse([], environ).address == ("localhost", 1234)
    assert parse(["--url", DEFAULT_URL], environ).url == DEFAULT_URL
    assert parse(["--url", "ws://[::1]:0/v1/realtime"], {}).address == ("::1", 0)


def test_everything_can_be_set() -> None:
    line = (
        "--key a --key b --reply tone:2.5 --pace 8 --delta-bytes 960,1920 --latency 300 --skew 0"
        " --call-every 2 --call 500 --ping 5 --journal j.jsonl --log-level debug --late 600"
        " --late-after 50 --stall 1000:800 --commentary --drop-after 1500 --expire 60"
        " --twist no-clear --twist own-events --garbage json,binary --fail insufficient_quota"
        " --fail-transcription x"
    )
    assert parse(line.split(), {}) == Options(
        keys=("a", "b"),
        reply="tone:2.5",
        pace=8,
        delta_bytes=(960, 1920),
        latency_ms=300,
        skew_ms=0,
        call_every=2,
        call_ms=500,
        expire_s=60,
        ping_s=5,
        journal=Path("j.jsonl"),
        log_level="debug",
        twists=("no-clear", "own-events"),
        faults=Faults(
            late_ms=600,
            late_after_ms=50,
            stall=Stall(1000, 800),
            commentary=True,
            drop_after_ms=1500,
            garbage=("json", "binary"),
            fail="insufficient_quota",
            fail_transcription="x",
        ),
    )
    short = parse(["--burst", "--odd-deltas", "--garbage", "all"], {})
    assert (short.pace, short.delta_bytes, short.cycle_deltas) == (0, ODD_DELTAS, True)
    assert short.faults.garbage == GARBAGE


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--url wss://api.openai.com/v1/realtime", "ws:// on loopback only"),
        ("--url ws://192.168.1.7:8790/v1/realtime", "192.168.1.7 is not loopback"),
        ("--url ws://example.com/v1/realtime", "example.com is not loopback"),
        ("--url ws://0.0.0.0:8790/", "0.0.0.0 is not loopback"),
        ("--url ws://127.0.0.1:99999/", "out of range"),
        ("--pace -1", "--pace: -1 is not from 0 to 1000"),
        ("--pace fast", "--pace: invalid number value: 'fast'"),
        ("--delta-bytes 0", "--delta-bytes: 0 is not from 1"),
        ("--delta-bytes a,b", "--delta-bytes: invalid"),
        ("--stall 100", "--stall: invalid AFTER:FOR in ms value: '100'"),
        ("--reply sing", "none of speech, tone:<seconds>, clip:<name>"),
        ("--reply tone:0", "0 is not from 0.1 to 600"),
        ("--garbage nonsense", "'nonsense' is none of all, json"),
        ("--nope", "unrecognized arguments: --nope"),
        ("--pac 3", "unrecognized arguments: --pac 3"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(line: str, says: str) -> None:
    with pytest.raises(BadOption) as raised:
        parse(line.split(), {})
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_key_is_never_shown() -> None:
    options = parse(["--key", "sk-secret"], {})
    assert "sk-secret" not in repr(options)


def test_faults_describe_themselves() -> None:
    assert Faults().describe() == []
    on = Faults(1, 2, Stall(3, 4), True, 5, ("json",), 1, "x", "y")
    assert len(on.describe()) == len(Faults.__dataclass_fields__)
