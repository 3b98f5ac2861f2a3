"""What the tap shows of messages."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shared import messages as m
from shared import tap, topics
from shared.audio import pcm
from shared.bus import Delivery


def delivery(message: m.Message, topic: topics.Topic | None = None) -> Delivery[m.Message]:
    stamp = m.Stamp(seq=5, epoch=1, t=2)
    row = topic or topics.of(type(message))
    return Delivery(row, message, stamp, restarted=False, lost=0)


def plain(message: m.Message, topic: topics.Topic | None = None) -> dict[str, Any]:
    found = tap._plain(delivery(message, topic))
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    return found


def test_a_message_without_a_payload_is_its_fields() -> None:
    assert plain(m.Control(command="interrupt")) == {
        "topic": "control",
        "seq": 5,
        "command": "interrupt",
    }
    heard = m.Heard(generation=1, session=2, playing=True, items=[m.HeardItem("a", 0, 3, 4, True)])
    assert plain(heard)["items"] == [
        {"item_id": "a", "content_index": 0, "heard": 3, "received": 4, "done": True}
    ]


def test_health_is_shown_under_its_stage() -> None:
    health = m.Health(pid=1, ok=True, state="fine", counters={"frames": 2})
    found = plain(health, topics.health("link"))
    assert (found["topic"], found["counters"]) == ("link.health", {"frames": 2})


def test_text_is_shown_as_text() -> None:
    event = m.ServerEvent(session=1, received_ns=2, payload=b'{"type": "\xc3\xa9"}')
    assert plain(event) == {
        "topic": "server.event",
        "seq": 5,
        "session": 1,
        "received_ns": 2,
        "text": '{"type": "é"}',
    }


def test_long_text_and_text_that_is_none_are_shown_as_far_as_it_goes() -> None:
    event = m.ClientEvent(session=1, payload=b"\xff" + b"a" * 5000)
    found = plain(event)["text"]
    assert found == "\N{REPLACEMENT CHARACTER}" + "a" * 1999


def test_audio_is_shown_as_its_length_and_level() -> None:
    half = pcm.from_array(np.full(pcm.FRAME, 16384, np.int16))
    frame = m.MicFrame(stream=1, position=2, captured_ns=3, overflows=0, payload=half)
    found = plain(frame)
    assert (found["audio_ms"], found["dbfs"]) == (20, -6)
    assert "payload" not in found
    last = m.ReplyAudio(
        generation=1, session=2, response_id="r", item_id="i", content_index=0, start=0, last=True
    )
    assert "audio_ms" not in plain(last)


# tables


def seen(messages: int, size: int = 0, span: float = 1.0, *delays_ms: float) -> tap._Seen:
    return tap._Seen(messages, size, 100.0, 100.0 + span, [round(d * 1e6) for d in delays_ms])


def test_a_rate_is_of_the_gaps_between_messages() -> None:
    assert seen(51).rate == 50
    assert seen(1, span=0.0).rate == 0
    assert seen(0, span=0.0).rate == 0
    assert seen(3, span=0.0).rate == 0


Table = Callable[[dict[str, tap._Seen]], list[str]]


@pytest.fixture(name="table")
def _table(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Table:
    name = request.function.__name__.split("_")[1]

    def table(found: dict[str, tap._Seen]) -> list[str]:
        tap.TABLES[name](found)
        return capsys.readouterr().out.splitlines()

    return table


def test_list_has_every_topic(table: Table) -> None:
    heading, *rows = table({"mic.frame": seen(51), "flush": seen(1)})
    assert heading.split() == ["topic", "publisher", "type", "queue", "nominal", "now"]
    assert [row.split()[0] for row in rows] == [topic.name for topic in topics.TOPICS]
    by_name = {row.split()[0]: row.split()[1:] for row in rows}
    assert by_name["mic.frame"] == ["capture", "MicFrame", "live", "50", "Hz", "50.0", "Hz"]
    assert by_name["flush"] == ["downlink", "Flush", "kept", "events", "1", "message"]
    assert by_name["heard"] == ["playback", "Heard", "state", "1", "Hz", "-"]
    assert len({len(row) for row in (heading, *rows)}) == 1


def test_hz_is_sorted(table: Table) -> None:
    first, second = table({"speaker.frame": seen(101), "mic.frame": seen(51)})
    assert first.split() == ["mic.frame", "50.0", "Hz", "51", "messages"]
    assert second.split() == ["speaker.frame", "100.0", "Hz", "101", "messages"]


def test_bw_counts_payloads(table: Table) -> None:
    first, second = table({"mic.frame": seen(51, 48_000), "flush": seen(1, 10, 0.0)})
    assert first.split() == ["flush", "0.0", "kB/s", "10", "bytes"]
    assert second.split() == ["mic.frame", "48.0", "kB/s", "48000", "bytes"]


def test_delay_has_the_middle_and_the_worst(table: Table) -> None:
    (row,) = table({"mic.frame": seen(3, 0, 1.0, 9.0, 0.25, 1.0)})
    assert row.split() == ["mic.frame", "median", "1.00", "ms", "worst", "9.00", "ms"]


# the command line

Run = Callable[..., tuple[int, str]]


@pytest.fixture(name="run")
def _run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    def run(*line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tap", *line])
        before = signal.getsignal(signal.SIGPIPE)
        try:
            code = tap.main()
        finally:
            signal.signal(signal.SIGPIPE, before)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return code, err

    monkeypatch.setenv("BARGEIN_BUS__DIRECTORY", str(tmp_path / "bus"))
    return run


def test_an_unknown_topic(run: Run) -> None:
    code, said = run("hz", "mic.frame", "mic")
    assert code == 2
    assert said.startswith("tap: no topic mic; the topics are mic.frame ")


def test_echo_needs_a_topic(run: Run) -> None:
    code, said = run("echo")
    assert code == 2
    assert said.startswith("tap: echo needs a topic; the topics are mic.frame ")


def test_a_wrong_setting(run: Run) -> None:
    assert run("list", "--set", "a=b") == (2, "config: --set: a: unknown\n")


def test_no_bus(run: Run, tmp_path: Path) -> None:
    for look in ("list", "health"):
        code, said = run(look)
        assert code == 1
        assert said == f"tap: nothing has run on {tmp_path / 'bus'} yet: start a stage first\n"
    assert not (tmp_path / "bus").exists()
