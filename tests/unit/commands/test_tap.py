"""What ``bargein tap`` prints."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from mcap.writer import Writer

from commands import health, tap
from harness import references
from shared import messages, recording, registry
from shared.audio import pcm
from shared.bus import Delivery
from shared.network import LOCAL, Network

pytestmark = pytest.mark.unit


def delivery(
    message: messages.Message, topic: registry.Topic | None = None
) -> Delivery[messages.Message]:
    stamp = messages.Stamp(seq=5, epoch=1, t=time.monotonic_ns())
    row = topic or registry.of(type(message))
    return Delivery(row, message, stamp, restarted=False, lost=0)


def plain(message: messages.Message, topic: registry.Topic | None = None) -> dict[str, Any]:
    found = tap._plain(delivery(message, topic))
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    return found


def test_a_message_without_a_payload_is_its_fields() -> None:
    assert plain(messages.Control(command="interrupt")) == {
        "topic": "control",
        "seq": 5,
        "command": "interrupt",
        "text": "",
        "role": "",
        "id": "",
    }
    heard = messages.Heard(
        generation=1, session=2, playing=True, items=[messages.HeardItem("a", 0, 3, 4, True)]
    )
    fields = {"item_id": "a", "content_index": 0, "heard": 3, "received": 4, "done": True}
    assert plain(heard)["items"] == [fields | {"broken": False, "cut": False}]


def test_health_is_shown_under_its_stage() -> None:
    health = messages.Health(pid=1, ok=True, state="fine", counters={"frames": 2})
    found = plain(health, registry.health("link"))
    assert (found["topic"], found["counters"]) == ("link.health", {"frames": 2})


def test_text_is_shown_as_text() -> None:
    event = messages.ServerEvent(session=1, received_ns=2, payload=b'{"type": "\xc3\xa9"}')
    assert plain(event) == {
        "topic": "server.event",
        "seq": 5,
        "session": 1,
        "received_ns": 2,
        "text": '{"type": "é"}',
    }


def test_long_text_and_text_that_is_none_are_shown_as_far_as_it_goes() -> None:
    event = messages.ClientEvent(session=1, payload=b"\xff" + b"a" * 5000)
    found = plain(event)["text"]
    assert found == "\N{REPLACEMENT CHARACTER}" + "a" * 1999


@pytest.mark.parametrize(
    ("tool", "shown"),
    [
        ({"headers": {"Authorization": "Bearer marker"}}, {"headers": {"Authorization": "****"}}),
        ({"authorization": "marker"}, {"authorization": "****"}),
        ({"authorization": None, "headers": {}}, {"authorization": None, "headers": {}}),
        ({"server_url": "https://h/?token=marker"}, {"server_url": "https://h/?token=****"}),
    ],
)
def test_the_keys_of_a_tools_server_are_not_shown(
    tool: dict[str, Any], shown: dict[str, Any]
) -> None:
    session = {"instructions": "Say é.", "tools": [{"type": "mcp", "server_label": "docs", **tool}]}
    update = msgspec.json.encode({"type": "session.update", "session": session})
    session["tools"] = [{"type": "mcp", "server_label": "docs", **shown}]
    for event in (
        messages.ClientEvent(session=1, payload=update),
        messages.ServerEvent(session=1, received_ns=2, payload=update),
    ):
        found = plain(event)["text"]
        assert msgspec.json.decode(found) == {"type": "session.update", "session": session}


def test_a_text_that_may_hold_keys_and_is_not_json_is_not_shown() -> None:
    event = messages.ClientEvent(session=1, payload=b'{"headers": {"X": "marker"')
    assert plain(event)["text"] == ""


def test_audio_is_shown_as_its_length_and_level() -> None:
    half = pcm.from_array(np.full(pcm.FRAME, 16384, np.int16))
    frame = messages.MicFrame(stream=1, position=2, captured_ns=3, overflows=0, payload=half)
    found = plain(frame)
    assert (found["audio_ms"], found["dbfs"]) == (20, -6)
    assert "payload" not in found
    last = messages.ReplyAudio(
        generation=1, session=2, response_id="r", item_id="i", content_index=0, start=0, last=True
    )
    assert "audio_ms" not in plain(last)


# The tables.


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
    assert [row.split()[0] for row in rows] == [topic.name for topic in registry.TOPICS]
    by_name = {row.split()[0]: row.split()[1:] for row in rows}
    assert by_name["mic.frame"] == ["capture", "MicFrame", "live", "50", "Hz", "50.0", "Hz"]
    assert by_name["flush"] == ["downlink", "Flush", "lossless", "events", "1", "message"]
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


# The command line.

Run = Callable[..., tuple[int, list[str], str]]


class Reader:
    """A subscriber that has received every message already."""

    def __init__(self, rows: list[registry.Topic], said: list[Delivery[messages.Message]]) -> None:
        self.sockets: list[Any] = []
        self.closed = False
        self._rows = rows
        self._said = list(said)

    def receive(self) -> Delivery[messages.Message] | None:
        while self._said:
            found = self._said.pop(0)
            if found.topic in self._rows:
                return found
        return None

    def close(self) -> None:
        self.closed = True


@pytest.fixture(name="ended")
def _ended() -> threading.Event:
    """Return the event that is set when the look has to end."""
    return threading.Event()


@pytest.fixture(name="run")
def _run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    ended: threading.Event,
) -> Run:
    def run(
        *line: str, said: list[Delivery[messages.Message]] | None = None
    ) -> tuple[int, list[str], str]:
        readers = []

        def subscriber(
            rows: list[registry.Topic], directory: Path, network: Network, *, observer: bool
        ) -> Reader:
            assert directory == tmp_path / "bus"
            assert network == LOCAL
            assert observer
            readers.append(Reader(rows, said or []))
            return readers[0]

        monkeypatch.setattr("commands.tap.bus.Subscriber", subscriber)
        code = tap.run([*line, "--seconds", "0.001"], ended)
        ended.clear()
        assert all(reader.closed for reader in readers)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    monkeypatch.setenv("BARGEIN_BUS__DIRECTORY", str(tmp_path / "bus"))
    return run


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir(mode=0o700)


def healthy(stage: str, *, ok: bool = True, **counters: int) -> Delivery[messages.Message]:
    health = messages.Health(pid=42, ok=ok, state=f"{stage} works", counters=counters)
    return delivery(health, registry.health(stage))


INTERRUPT = delivery(messages.Control(command="interrupt"))
OPEN = delivery(messages.LinkState(state="open"))


@pytest.mark.usefixtures("running")
def test_echo_shows_a_line_for_each_message(run: Run) -> None:
    code, lines, err = run("echo", "control", said=[INTERRUPT, OPEN, INTERRUPT])
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in lines] == [plain(INTERRUPT.message)] * 2


@pytest.mark.usefixtures("running")
def test_looks_at_all_topics_or_those_named(run: Run) -> None:
    said = [INTERRUPT, OPEN, OPEN]
    for look in ("hz", "bw", "delay"):
        code, lines, err = run(look, said=said)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in lines] == ["control", "link.state"]
        _, lines, _ = run(look, "link.state", said=said)
        assert [line.split()[0] for line in lines] == ["link.state"]
    _, lines, _ = run("hz", said=said)
    assert lines[1].endswith("2 messages")
    _, lines, _ = run("list", said=said)
    assert len(lines) == 1 + len(registry.TOPICS)
    assert next(line for line in lines if line.startswith("control ")).endswith("1 message")


@pytest.mark.usefixtures("running")
def test_silence_is_reported(run: Run, tmp_path: Path) -> None:
    for look in ("list", "hz", "bw", "delay"):
        code, _, err = run(look)
        assert code == 1
        assert err == f"tap: no message came on {tmp_path / 'bus'}: is a stage running?\n"


@pytest.mark.usefixtures("running")
def test_messages_that_came_before_control_c_are_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, ended: threading.Event
) -> None:
    def interrupted(self: Reader) -> Delivery[messages.Message] | None:
        if self._said:
            return self._said.pop(0)
        assert not ended.is_set()
        ended.set()
        return None

    monkeypatch.setattr(Reader, "receive", interrupted)
    code, lines, _ = run("hz", said=[INTERRUPT, OPEN])
    assert code == 0
    assert [line.split()[0] for line in lines] == ["control", "link.state"]
    assert run("echo", "control") == (0, [], "")


@pytest.mark.usefixtures("running")
def test_health_is_good_when_every_stage_is(run: Run) -> None:
    said = [healthy(stage, frames=3, none=0) for stage in registry.STAGES]
    code, lines, err = run("health", said=said)
    assert (code, err) == (0, "")
    for stage in registry.STAGES:
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{stage} "))
        assert lines[at].split() == [stage, "ok", "pid", "42", stage, "works"]
        assert lines[at + 1].split() == ["frames=3"]
    assert lines[-1].split() == [registry.PROCESSES[-1], "not", "running"]


@pytest.mark.usefixtures("running")
def test_health_is_bad_when_a_stage_is_missing_or_not_well(run: Run) -> None:
    stages = [healthy(stage) for stage in registry.STAGES]
    code, lines, _ = run("health", said=stages[1:])
    assert code == 1
    assert "not running" in lines[0]
    # The latest message of a stage counts.
    code, lines, _ = run("health", said=[*stages, healthy("link", ok=False)])
    assert code == 1
    assert any(line.startswith("link       NOT OK") for line in lines)
    code, _, _ = run("health", said=[healthy("link", ok=False), *stages])
    assert code == 0


def test_an_unknown_topic(run: Run) -> None:
    code, _, said = run("hz", "mic.frame", "mic")
    assert code == 2
    assert said.startswith("tap: no topic mic; the topics are mic.frame ")
    assert said.count("\n") == 1


def test_echo_needs_a_topic(run: Run) -> None:
    code, _, said = run("echo")
    assert code == 2
    assert said.startswith("tap: echo needs a topic; the topics are mic.frame ")


def test_a_wrong_setting(run: Run) -> None:
    assert run("list", "--set", "a=b") == (2, [], "config: --set: a: unknown\n")


def test_no_bus(run: Run, tmp_path: Path) -> None:
    for look in ("list", "health"):
        code, lines, said = run(look)
        assert (code, lines) == (1, [])
        assert said == f"tap: nothing has run on {tmp_path / 'bus'} yet: start a stage first\n"
    assert not (tmp_path / "bus").exists()


# The health of each topic that a stage reads.


def watched(
    received: tuple[dict[str, int], dict[str, int]], seconds: float = 2.0, **changed: Any
) -> health.Watched:
    def at(counts: dict[str, int], pid: int = 1, **fields: Any) -> messages.Health:
        made: dict[str, Any] = {"pid": pid, "ok": True, "state": "", "counters": {}, **fields}
        return messages.Health(received=counts, **made)

    first, last = received
    return health.Watched(at(first), 10**9, at(last, **changed), round((1 + seconds) * 1e9))


def arrival(topic: str, seen: health.Watched) -> str:
    return health.arrival(seen, registry.BY_NAME[topic])


def test_a_topic_that_arrives_has_its_rate() -> None:
    seen = watched(({"mic.clean": 100, "flush": 1}, {"mic.clean": 200, "flush": 1}))
    assert arrival("mic.clean", seen) == "50.0 Hz"
    # Flushes come when something happens, at no rate.
    assert arrival("flush", seen) == "1 message"
    assert arrival("link.state", seen) == "not reported by the stage"


def test_a_topic_off_its_rate_or_silent_says_so() -> None:
    counts = {"mic.clean": 100}
    slow = watched((counts, {"mic.clean": 150}), off_rate=["mic.clean"])
    assert arrival("mic.clean", slow) == "25.0 Hz, nominal 50 Hz"
    silent = watched((counts, counts), silent=["mic.clean"])
    assert arrival("mic.clean", silent).startswith("SILENT: no message comes (100 messages ")


def test_a_rate_is_not_computed_across_a_restart_or_from_one_health() -> None:
    counts = ({"mic.clean": 100}, {"mic.clean": 5})
    assert arrival("mic.clean", watched(counts, pid=2)) == "5 messages"
    assert arrival("mic.clean", watched(counts, seconds=0)) == "5 messages"


def test_rates_are_counted_from_the_second_health_on() -> None:
    # A new reader gets the last health again, with counts that are 0.9 s older than its time.
    repeated, second, third = (
        watched(({}, {"mic.clean": count})).last for count in (100, 150, 200)
    )
    seen = health.Watched(repeated, 9 * 10**8, repeated, 9 * 10**8, repeated=True)
    seen.take(second, 10**9)
    assert arrival("mic.clean", seen) == "150 messages"
    seen.take(third, 2 * 10**9)
    assert arrival("mic.clean", seen) == "50.0 Hz"


def test_a_stage_that_does_not_get_what_it_reads_is_not_well() -> None:
    stages = {name: watched(({}, {})) for name in registry.STAGES}
    lines, well = health.report(stages, {}, now_ns(stages))
    assert well
    for name in registry.STAGES:
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{name} "))
        topics = registry.read_by(name)
        shown = [line.split()[:2] for line in lines[at + 1 : at + 1 + len(topics)]]
        assert shown == [["reads", topic.name] for topic in topics]
    stages["vad"] = watched(({}, {}), silent=["mic.clean"])
    assert not health.report(stages, {}, now_ns(stages))[1]


def test_a_stage_that_publishes_no_health_is_stuck_if_its_process_runs() -> None:
    stages = {name: watched(({}, {})) for name in registry.STAGES if name != "echo"}
    late = now_ns(stages) + health.STUCK_NS
    lines, well = health.report(stages, {}, late)
    assert not well
    shown = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    # On the boundary, the others still count. Nobody knows of a process of echo's.
    assert [n for n, line in shown.items() if "not running" in line] == [
        "echo",
        *registry.OPTIONAL,
        *registry.LISTENERS,
    ]
    lines, well = health.report(stages, {"echo": 7, "vad": 8}, late + 1)
    assert not well
    shown = {line.split()[0]: line for line in lines}
    assert "STUCK   pid 7 " in shown["echo"]
    assert shown["vad"].endswith("publishes no health: run 'bargein restart vad'")
    assert "not running" in shown["link"]


def now_ns(stages: dict[str, health.Watched]) -> int:
    """Return the time of the latest health."""
    return max(each.last_ns for each in stages.values())


def test_the_state_of_a_stage_is_shown_without_control_characters() -> None:
    stages = {"link": watched(({}, {}), state="open \x1b[2J\u202e", counters={"a\x9b": 1})}
    lines, _ = health.report(stages, {}, now_ns(stages))
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("raw", [False, True])
def test_echo_prints_words_or_the_fields(capsys: pytest.CaptureFixture[str], *, raw: bool) -> None:
    said = messages.Transcript(session=1, item_id="a", role="user", text="Hi\x1b[2J", final=True)
    tap._echo(iter([delivery(said), delivery(messages.LinkState(state="open"))]), raw=raw)
    first, second = capsys.readouterr().out.splitlines()
    assert (first == "you: Hi\\u001b[2J") != raw
    assert "\x1b" not in first
    assert json.loads(second)["state"] == "open"
    if raw:
        assert json.loads(first)["text"] == said.text


# a recording


def of_file(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[int, str, str]:
    code = tap.run([str(each) for each in line], threading.Event())
    out, err = capsys.readouterr()
    return code, out, err


def written(path: Path, topic: str, texts: Sequence[bytes], version: str) -> None:
    """Write a recording of one topic."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata(recording.METADATA, {"version": version})
        channel = writer.register_channel(topic, "json", 0)
        for text in texts:
            writer.add_message(channel, 1, text, 1)
        writer.finish()


def test_the_first_seconds_of_a_recording_are_those_of_the_messages_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "disordered.mcap"
    panels = [
        recording.encode(messages.Panel(), messages.Stamp(seq=seq, epoch=1, t=int(at_s * 1e9)))
        for seq, at_s in enumerate((10.0, 12.01, 11.99, 12.02, 14.0))
    ]
    written(path, "panel", panels, recording.VERSION)
    code, out, _ = of_file(capsys, "hz", "panel", "--seconds", "2", "--file", path)
    assert (code, int(out.split()[3])) == (0, 2)
    # what is wrong with the recording is said also if only its beginning is read
    written(path, "panel", panels, "1")
    assert "has version '1'" in of_file(capsys, "hz", "--seconds", "2", "--file", path)[2]


def test_a_recording_is_read_as_a_bus_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = references.unpack("client-decides", tmp_path)
    code, out, _ = of_file(capsys, "echo", "interruption", "--file", path)
    assert code == 0
    assert re.match(r"judged: stopped in \d+ ms, heard \d+\.\d of \d+\.\d s", out)
    code, out, _ = of_file(capsys, "hz", "--file", path)
    assert code == 0
    # The rates are those of the recording, not those of reading it.
    assert re.search(r"^mic\.clean +(49|50|51)\.\d Hz", out, re.MULTILINE)
    code, out, _ = of_file(capsys, "hz", "mic.clean", "--seconds", "2", "--file", path)
    recorded = list(recording.read(path))
    until_ns = recorded[0].stamp.t + 2_000_000_000
    frames = [e for e in recorded if e.topic.name == "mic.clean" and e.stamp.t <= until_ns]
    assert int(out.split()[3]) == len(frames) > 50
    code, out, _ = of_file(capsys, "health", "--file", path)
    assert re.search(r"^downlink +ok", out, re.MULTILINE)


def test_unreadable_parts_of_a_recording_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert of_file(capsys, "hz", "--file", tmp_path / "none.mcap")[::2] == (
        1,
        f"tap: {tmp_path}/none.mcap: No such file or directory\n",
    )
    assert of_file(capsys, "delay", "--file", tmp_path / "none.mcap")[0] == 2


def test_another_programs_file_and_a_newer_recording_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.mcap"

    def look(*line: str) -> tuple[int, str]:
        code = tap.run([*line, "--file", str(path)], threading.Event())
        return code, capsys.readouterr().err

    written(path, "/chatter", [b"abc"], recording.VERSION)
    for command in (("echo", "heard"), ("list",)):
        assert look(*command) == (1, f"tap: {path}: no message of the bus is in it\n")
    panel = recording.encode(messages.Panel(), messages.Stamp(seq=0, epoch=1, t=1))
    written(path, "panel", [panel], "1")
    code, said = look("echo", "panel")
    assert code == 0
    assert "the recording has version '1', and this Bargein reads version '3'" in said
    assert "no message of these topics" in look("echo", "heard")[1]
