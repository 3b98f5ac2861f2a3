"""The emulator as a command: how it starts, how it ends, and what it prints if it can't start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "services.emulator"]
ANY_PORT = "ws://127.0.0.1:0/v1/realtime"
PATIENCE_S = 30


class Running:
    """The running command and the lines of its log that were read so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    @property
    def url(self) -> str:
        found = re.search(r"listens at (ws://\S+),", self.lines[0])
        assert found
        return f"{found[1]}?model=gpt-realtime"

    def read(self, lines: int) -> None:
        assert self.process.stderr is not None
        while len(self.lines) < lines:
            line = self.process.stderr.readline()
            assert line, "the emulator ended"
            self.lines.append(line.rstrip("\n"))


@contextmanager
def emulator(*arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COMMAND, "--url", ANY_PORT, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    # Kill the process after a while, so that a failing test does not wait for ever.
    killer = threading.Timer(PATIENCE_S, process.kill)
    killer.start()
    try:
        running = Running(process)
        running.read(3)
        yield running
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


def end(running: Running, number: signal.Signals) -> tuple[int, str]:
    running.process.send_signal(number)
    _, rest = running.process.communicate(timeout=PATIENCE_S)
    return running.process.returncode, rest


def test_the_first_lines_say_where_what_and_which_faults() -> None:
    with emulator("--reply", "tone:3", "--late", "600", "--stall", "1000:800") as running:
        first, second, third = running.lines
        stamp = r"^\d\d:\d\d:\d\d\.\d{3} emulator "
        assert re.match(
            stamp + r"listens at ws://127\.0\.0\.1:[1-9]\d*/v1/realtime, accepts", first
        )
        assert "replies with tone:3, sent 4× real time" in second
        assert "600 ms of deltas" in second
        assert "stall after 1000 ms for 800 ms" in second
        assert third.endswith("waits for a client to connect")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal_with_a_client_connected(number: signal.Signals) -> None:
    with emulator("--reply", "tone:30") as running, connect(running.url) as client:
        client.send('{"type": "response.create"}')
        while "output_audio.delta" not in str(client.recv()):
            pass
        code, rest = end(running, number)
    assert code == 0
    assert "Traceback" not in rest


def test_a_signal_at_once_ends_it_too() -> None:
    with emulator() as running:
        assert end(running, signal.SIGTERM)[0] == 0


def test_the_log_has_a_few_lines_for_a_conversation_and_no_key() -> None:
    with emulator("--reply", "tone:1", "--burst", "--key", "sk-secret") as running:
        headers = {"Authorization": "Bearer sk-secret"}
        with connect(running.url, additional_headers=headers) as client:
            client.send('{"type": "response.create"}')
            while json.loads(client.recv())["type"] != "response.done":
                pass
        with connect(running.url, additional_headers={"api-key": "sk-wrong"}) as client:
            client.recv()
        _, rest = end(running, signal.SIGTERM)
    told = "\n".join(running.lines) + rest
    assert "says tone of 1 s" in told
    assert "is completed, 1000 ms sent" in told
    assert "refused a connection: invalid_api_key" in told
    assert "sk-" not in told
    assert len(rest.splitlines()) < 10


def fails(*arguments: str, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


def test_a_busy_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = fails("--url", f"ws://127.0.0.1:{port}/v1/realtime")
    assert code == 1
    assert f"cannot listen at 127.0.0.1:{port}" in line
    assert "--url" in line


def test_bad_options_are_one_line(tmp_path: Path) -> None:
    assert fails("--pace", "x")[0] == 2
    assert fails("--reply", "clip:nope", "--url", ANY_PORT)[0] == 2
    code, line = fails(BARGEIN_LINK__URL="wss://api.openai.com/v1/realtime")
    assert code == 2
    assert "BARGEIN_LINK__URL" in line
    code, line = fails("--voice", str(tmp_path), "--url", ANY_PORT)
    assert code == 1
    assert "index.json: No such file" in line
    code, line = fails("--journal", str(tmp_path / "no" / "where"), "--url", ANY_PORT)
    assert code == 1
    assert "No such file" in line


def test_help_names_every_option_and_its_unit() -> None:
    done = subprocess.run(
        [*COMMAND, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    for option in ("--late MS", "--stall AFTER:FOR", "--expire S", "--delta-bytes N", "--journal"):
        assert option in done.stdout
