"""The door, by a client that knows only docs/door.md: it imports nothing of monitor's."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from harness import recordings
from services.monitor import panel_file
from shared import messages
from shared.audio import pcm
from shared.directory import prepare_directory
from tests.support.pipeline import PATIENCE_S, UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

STAGES = ("echo", "vad", "uplink", "downlink", "playback", "monitor")
FIRST_S, SECOND_S = 0.6, 6.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("door", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Client:
    """A client of the door."""

    def __init__(self, bus: Path) -> None:
        self.bus = bus
        self.socket = bus / "monitor.sock"
        self.address = (bus / "monitor.address").read_text().strip()
        self.token = (bus / "door.token").read_text().strip()
        host, _, port = self.address.removeprefix("http://").strip("/").partition(":")
        self.host, self.port = host, int(port)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Ask over TCP, with nothing but the headers that are given."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        connection.putrequest(method, path, skip_host=True)
        headers = {"Host": f"{self.host}:{self.port}"} | (headers or {})
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        found = response.status, response.read()
        connection.close()
        return found

    def command(self, **command: Any) -> tuple[int, dict[str, Any]]:
        """Send a command over the Unix socket; return the status and the answer."""
        connection = UnixConnection(self.socket)
        connection.request("POST", "/command", json.dumps(command))
        response = connection.getresponse()
        found = response.status, json.loads(response.read())
        connection.close()
        return found

    def state(self) -> dict[str, Any]:
        connection = UnixConnection(self.socket)
        connection.request("GET", "/state")
        with connection.getresponse() as response:
            found = json.loads(response.read())
        connection.close()
        assert isinstance(found, dict)
        return found


class Watch:
    """Reads the stream of lines on a thread, and keeps the messages."""

    def __init__(self, client: Client) -> None:
        self.told: list[dict[str, Any]] = []
        self._connection = UnixConnection(client.socket)
        self._connection.request("GET", "/watch?levels=1")
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while line := self._response.readline():
                self.told.append(json.loads(line))
        except (OSError, ValueError, AttributeError):
            pass  # closed

    def wait(self, holds: Callable[[dict[str, Any]], object], since: int = 0) -> dict[str, Any]:
        """Wait for a message after the first ``since`` ones."""
        deadline = time.monotonic() + PATIENCE_S
        at = since
        while time.monotonic() < deadline:
            while at < len(self.told):
                at += 1
                if holds(self.told[at - 1]):
                    return self.told[at - 1]
            threading.Event().wait(0.02)
        raise AssertionError(f"it was not told: {[t['type'] for t in self.told[since:]][-20:]}")

    def states(self) -> list[str]:
        return [t["state"] for t in self.told if t["type"] in ("snapshot", "state")]

    def close(self) -> None:
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._response.close()
        self._connection.close()


@pytest.fixture(scope="module")
def talk(
    kept: Keeper, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pipeline, Client, Watch, dict[str, Child]]]:
    """Hold a conversation in which the person interrupts the first answer."""
    with Pipeline(kept, UNHELD) as pipeline:
        said = [(FIRST_S, recordings.QUESTION), (SECOND_S, recordings.WAIT)]
        path = tmp_path_factory.mktemp("door") / "person.wav"
        pipeline.settings |= {
            "echo.enabled": False,
            "monitor.port": 0,
            "capture.device": recordings.microphone(path, said, 60),
        }
        pipeline.emulator("--reply", "clip:long", "--burst")
        stages = pipeline.all_up(*STAGES)
        client = Client(pipeline.bus_directory)
        watch = Watch(client)
        watch.wait(lambda t: t["type"] == "snapshot")
        stages["link"] = pipeline.up("link")
        pipeline.meet()
        pipeline.up("capture")
        yield pipeline, client, watch, stages
        watch.close()


Talk = tuple[Pipeline, Client, Watch, dict[str, Child]]


def in_order(wanted: list[str], found: list[str]) -> bool:
    left = iter(found)
    return all(any(each == one for one in left) for each in wanted)


def test_the_states_of_a_whole_interruption_come_in_their_order(talk: Talk) -> None:
    _, _, watch, _ = talk
    cut = watch.wait(lambda t: t["type"] == "interruption")
    since = len(watch.told)
    watch.wait(lambda t: t["type"] == "state" and t["state"] == "speaking", since)
    wanted = ["offline", "listening", "hearing", "thinking", "speaking", "ducked"]
    assert in_order([*wanted, "hearing", "thinking", "speaking"], watch.states()), watch.states()
    # what the person heard is apart from what was cut off
    assert cut["cause"] == "speech_started"
    assert 0 < cut["heard_ms"] < cut["received_ms"]
    assert cut["hops"]["onset"] <= cut["hops"]["ducked"] <= cut["hops"]["event"] == 0
    assert 0 < cut["hops"]["flush_sent"] <= cut["hops"]["silent"] == cut["silence_ms"]
    [item] = cut["items"]
    shown = watch.wait(
        lambda t: t["type"] == "caption" and t["item_id"] == item["item_id"] and t["cut"]
    )
    assert item["heard"]
    assert shown["unheard"].strip()
    # the caption grew with the playhead
    grown = [
        len(t["heard"])
        for t in watch.told
        if t["type"] == "caption" and t["item_id"] == item["item_id"]
    ]
    assert len({length for length in grown if length}) > 5
    assert {"onset", "flush", "turn_end"} <= {t["kind"] for t in watch.told if t["type"] == "mark"}
    levels = [t for t in watch.told if t["type"] == "levels"]
    loudest = {v: max(max(t["peaks"]) for t in levels if t["voice"] == v) for v in VOICES}
    assert all(peak > 20 for peak in loudest.values()), loudest


VOICES = ("person", "assistant")


def test_commands_show_on_the_bus_and_return_what_came_of_them(talk: Talk) -> None:
    pipeline, client, watch, _ = talk
    watch.wait(lambda t: t["type"] == "interruption")
    deadline = time.monotonic() + PATIENCE_S
    while client.state()["state"] != "speaking":
        assert time.monotonic() < deadline
    status, told = client.command(command="interrupt")
    assert (status, told["done"]) == (200, True), told
    assert told["outcome"].startswith("interrupted: heard ")
    # mute: silence, and no gap
    since = pipeline.bus.now
    assert client.command(command="mute") == (200, {"done": True, "outcome": "muted"})
    pipeline.bus.wait_for(messages.Panel, lambda p: p.muted, since=since)
    since = pipeline.bus.now
    pipeline.bus.wait_for(messages.MicClean, since=since + 20)
    frames = pipeline.bus.all(messages.MicClean, since=since + 20)
    pairs = itertools.pairwise(pipeline.bus.all(messages.MicClean))
    assert {b.position - a.position for a, b in pairs} == {pcm.FRAME}
    assert not any(any(frame.payload) for frame in frames)
    assert client.command(command="unmute")[0] == 200
    # a typed line is answered, however speech is
    since = len(watch.told)
    status, told = client.command(command="type", text="What time is it?")
    assert (status, told["done"]) == (200, True), told
    typed = watch.wait(lambda t: t["type"] == "caption" and t["role"] == "user", since)
    assert typed["heard"] == "What time is it?"
    watch.wait(lambda t: t["type"] == "state" and t["state"] == "speaking", since)
    since = pipeline.bus.now
    status, told = client.command(command="volume", value=0)
    assert (status, told) == (200, {"done": True, "outcome": "volume 0 %"})
    pipeline.bus.wait_for(messages.Panel, lambda p: p.volume == 0, since=since)
    pipeline.bus.wait_for(
        messages.SpeakerFrame, lambda f: not any(f.payload), since=pipeline.bus.now
    )
    assert client.state()["panel"] == {"muted": False, "volume": 0}
    # a setting reaches the running session, and a wrong value is refused with those that it takes
    since, told_before = pipeline.bus.now, len(watch.told)
    status, told = client.command(command="set", id="speed", text="1.25")
    assert (status, told["outcome"]) == (200, "speed: changed until this conversation ends")
    pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"speed":1.25' in e.payload, since=since)
    shown = watch.wait(lambda t: t["type"] == "session", told_before)
    assert {"name": "speed", "value": 1.25, "changed": True, "low": 0.25, "high": 1.5} in shown[
        "settings"
    ]
    status, told = client.command(command="set", id="speed", text="9")
    assert status == 409
    assert "(accepted: 0.25 to 1.5)" in told["outcome"]
    assert client.command(command="set", id="mcp", text="[]")[0] == 409
    # what nothing would come of is refused
    for command in ({"command": "talk"}, {"command": "approve", "id": "x"}, {"command": "type"}):
        status, told = client.command(**command)
        assert (status, told["done"]) == (409, False)
    assert client.command(command="explode")[0] == 400
    assert client.command(command="type", text="x" * 70_000)[0] == 400
    assert client.command(command="type", text="x" * 2_000_000)[0] == 413
    control = pipeline.python("commands.control", "talk", *pipeline.options({}))
    assert control.wait() == 1
    assert "interruption.decide is server" in control.output


def test_over_tcp_only_a_program_with_the_token_gets_in(talk: Talk) -> None:
    _, client, _, _ = talk
    interrupt = b'{"command": "interrupt"}'
    token = {"Authorization": f"Bearer {client.token}"}
    paths = [("POST", "/command", interrupt), ("GET", "/state", b""), ("GET", "/metrics", b"")]
    for method, path, body in paths:
        assert client.ask(method, path, body, token)[0] == 200, path
        assert client.ask(method, path, body)[0] == 401
        assert client.ask(method, path, body, {"Authorization": "Bearer x"})[0] == 401
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Host": f"evil.example:{client.port}"},
            {"Host": ""},
        ):
            assert client.ask(method, path, body, token | foreign)[0] == 403, foreign
    # the page itself has no secret
    assert client.ask("GET", "/")[0] == 200
    assert client.ask("GET", "/page/../__main__.py")[0] in (401, 404)
    url = f"ws://{client.host}:{client.port}/events"
    offers: list[dict[str, Any]] = [
        {},
        {"additional_headers": {"Authorization": "Bearer x"}},
        {"additional_headers": token, "origin": "https://evil.example"},
    ]
    for options in offers:
        with pytest.raises(InvalidStatus) as refused:
            connect(url, **options)
        assert refused.value.response.status_code in (401, 403)
    offered: list[Any] = ["bargein", f"token.{client.token}"]
    own: Any = client.address.rstrip("/")
    with connect(url, subprotocols=offered, origin=own) as page:
        assert page.subprotocol == "bargein"
        assert json.loads(page.recv(timeout=PATIENCE_S))["type"] == "snapshot"
    for name in ("door.token", "monitor.sock", "monitor.address"):
        assert (client.bus / name).stat().st_mode & 0o077 == 0


def test_sound_comes_only_to_a_client_that_asks_and_commands_go_both_ways(talk: Talk) -> None:
    _, client, watch, _ = talk

    def received(socket_: ClientConnection, count: int) -> list[Any]:
        return [socket_.recv(timeout=PATIENCE_S) for _ in range(count)]

    with unix_connect(str(client.socket), "ws://door/events?voices=1") as asked:
        sound = [told for told in received(asked, 40) if isinstance(told, bytes)]
        assert {told[0] for told in sound} == {0, 1}
        assert {len(told) for told in sound} == {1 + 2 * pcm.FRAME}
        asked.send(json.dumps({"command": "volume", "value": 100, "number": 7}))
        told = next(
            message
            for message in (received(asked, 1)[0] for _ in range(400))
            if isinstance(message, str) and json.loads(message)["type"] == "outcome"
        )
        assert json.loads(told) == {
            "type": "outcome", "number": 7, "done": True, "outcome": "volume 100 %",
        }  # fmt: skip
        asked.send("{")
    with unix_connect(str(client.socket), "ws://door/events") as quiet:
        assert all(isinstance(told, str) for told in received(quiet, 3))
    assert not [told for told in watch.told if "sound" in told]


def test_the_figures_are_what_prometheus_reads(talk: Talk) -> None:
    _, client, watch, _ = talk
    watch.wait(lambda t: t["type"] == "interruption")
    connection = UnixConnection(client.socket)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    silence = {s.name: s.value for s in families["bargein_silence_seconds"].samples}
    assert silence["bargein_silence_seconds_count"] >= 1
    assert 0 < silence["bargein_silence_seconds_sum"] < 5
    up = {s.labels["stage"]: s.value for s in families["bargein_stage_up"].samples}
    assert {"capture", *STAGES} <= set(up)
    assert families["bargein_stage_memory_bytes"].samples[0].value > 1_000_000
    assert families["bargein_interrupted_sent_seconds"].samples[0].value > 0
    assert families["bargein_sessions"].samples[0].value == 1
    assert 0 < families["bargein_round_trip_seconds"].samples[0].value < 1


def test_watchers_that_take_nothing_harm_nobody(talk: Talk) -> None:
    pipeline, client, watch, stages = talk
    stopped = pipeline.python("commands.watch", "--json", "--levels", *pipeline.options({}))
    stopped.wait_line('"snapshot"')
    stopped.codes = {-signal.SIGKILL}
    stopped.send(signal.SIGSTOP)
    deaf = []
    for _ in range(10):
        each = socket.socket(socket.AF_UNIX)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.connect(str(client.socket))
        each.sendall(b"GET /watch?levels=1 HTTP/1.1\r\nHost: door\r\n\r\n")
        deaf.append(each)
    url = "ws://door/events?voices=1&levels=1"
    slow: Any = unix_connect(str(client.socket), url, max_queue=1, legacy=True)
    monitor = psutil.Process(stages["monitor"].pid)
    before = monitor.memory_info().rss
    since = len(watch.told)
    time_ns = time.monotonic_ns()
    # Sound of nine seconds does not fit into the buffers on the way.
    watch.wait(lambda t: t["type"] == "levels" and t["at_ms"] > time_ns // 1_000_000 + 9_000, since)
    told = [t for t in watch.told[since:] if t["type"] == "levels" and t["voice"] == "person"]
    gaps = {b["at_ms"] - a["at_ms"] - 20 * len(a["peaks"]) for a, b in itertools.pairwise(told)}
    assert gaps <= {-1, 0, 1}, gaps
    assert not [t for t in watch.told if t["type"] == "dropped"]
    assert monitor.memory_info().rss - before < 40 * 1024 * 1024
    # the slow one learns what it has lost, and gets a new snapshot
    kinds: list[str] = []
    for _ in range(3000):
        if "dropped" in kinds and kinds[-1] == "snapshot":
            break
        message = slow.recv(timeout=PATIENCE_S)
        if isinstance(message, str):
            kinds.append(json.loads(message)["type"])
    assert kinds[-1] == "snapshot", set(kinds)
    assert client.state()["type"] == "snapshot"
    for each in deaf:
        each.close()
    try:
        slow.close()
    except ConnectionClosed:
        pass
    os.kill(stopped.pid, signal.SIGKILL)
    for name, child in stages.items():
        assert child.running, name


def test_a_monitor_that_is_killed_costs_the_conversation_nothing(talk: Talk) -> None:
    pipeline, client, _, stages = talk
    assert client.command(command="mute")[0] == 200
    assert client.command(command="volume", value=40)[0] == 200
    assert client.command(command="set", id="speed", text="1.25")[0] == 200
    since = pipeline.bus.now
    stages["monitor"].end(signal.SIGKILL)
    stages["monitor"].codes = {-signal.SIGKILL}
    health = pipeline.bus.health("uplink", since=since)
    pipeline.bus.health("uplink", lambda h: h.received["mic.clean"] > health.received["mic.clean"])
    stages["monitor"] = pipeline.up("monitor")
    again = Client(pipeline.bus_directory)
    # the same token, and the switches and the settings as they were
    assert again.token == client.token
    changed = [s["name"] for s in again.state()["session"]["settings"] if s["changed"]]
    assert changed == ["speed"]
    assert again.state()["panel"] == {"muted": True, "volume": 40}
    # An uplink that is started again asks for the changed setting.
    stages["uplink"].end()
    stages["uplink"] = pipeline.up("uplink")
    stages["uplink"].wait_line(r"changed in \[session\]: speed")
    # Nor does a link that is started again open the microphone.
    stages["link"].end()
    before = pipeline.bus.health("monitor", since=pipeline.bus.now).received["link.state"]
    since = pipeline.bus.now
    stages["link"] = pipeline.up("link")
    pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "open", since=since)
    pipeline.bus.health("monitor", lambda h: h.received["link.state"] > before + 1, since=since)
    assert again.state()["panel"]["muted"]
    # its files come back if somebody removes them
    for name in ("monitor.sock", "monitor.address"):
        (client.bus / name).unlink()
    deadline = time.monotonic() + PATIENCE_S
    while not all((client.bus / n).exists() for n in ("monitor.sock", "monitor.address")):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    assert again.command(command="unmute")[0] == 200


def test_the_switches_of_an_earlier_conversation_reach_no_stage_of_a_new_one(
    pipeline: Pipeline,
) -> None:
    earlier = messages.Panel(muted=True, volume=40, session={"voice": "cedar"})
    prepare_directory(pipeline.bus_directory)
    panel_file.write(pipeline.bus_directory, panel_file.Saved(earlier, link=1))
    pipeline.emulator()
    pipeline.up("monitor")
    pipeline.up("link")
    pipeline.bus.wait_for(messages.Panel)
    pipeline.bus.health("monitor", lambda h: h.received["link.state"] > 2)
    told = {(p.muted, p.volume, *p.session) for p in pipeline.bus.all(messages.Panel)}
    assert told == {(False, 40)}


def test_a_command_waits_for_a_downlink_that_is_being_started_again(talk: Talk) -> None:
    pipeline, _, _, stages = talk
    client = Client(pipeline.bus_directory)
    stages["downlink"].codes = {-signal.SIGKILL}
    stages["downlink"].end(signal.SIGKILL)
    answers: list[tuple[int, dict[str, Any]]] = []
    asking = threading.Thread(target=lambda: answers.append(client.command(command="interrupt")))
    asking.start()
    # uplink reads commands as well, so nothing is held for downlink.
    stages["downlink"] = pipeline.up("downlink")
    asking.join(PATIENCE_S)
    [(status, told)] = answers
    assert (status, told["done"]) == (200, True), told
