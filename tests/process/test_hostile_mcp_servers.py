"""MCP servers that never end what they send, or say without end that their list has changed."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from services.tools.mcp_file import Server
from services.tools.server import LIST_S, McpServer
from services.tools.transports import LONGEST
from tests.support.asynchronous import PATIENCE_S, running, until

pytestmark = pytest.mark.process

#: A server whose list of functions is another one each time, and which then goes wrong.
PROGRAM = """
import json, sys, threading, time
def send(fields):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **fields}) + "\\n")
    sys.stdout.flush()
def flood():
    while sys.argv[1] == "endless":
        sys.stdout.write("x" * 65536)
    while True:
        send({"method": "notifications/tools/list_changed"})
        time.sleep(0.001)
listed = 0
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        version = asked["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {"listChanged": True}}}
        send({"id": asked["id"], "result": {**result, "serverInfo": {"name": "x", "version": "1"}}})
    elif asked.get("method") == "tools/list":
        listed += 1
        function = {"name": f"f{listed}", "inputSchema": {"type": "object"}}
        send({"id": asked["id"], "result": {"tools": [function]}})
        if listed == 1:
            threading.Thread(target=flood, daemon=True).start()
    elif "id" in asked and "method" in asked:
        send({"id": asked["id"], "error": {"code": -32601, "message": "unknown"}})
"""
#: The beginnings of HTTP answers, and what follows them without end.
ANSWERS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 10_000),
    "a-header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
    "an-answer": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" " * 65536),
    "an-error": (b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\n\r\n", b" " * 65536),
    "an-event": (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ", b"x" * 65536),
    "compressed": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"\x1f\x8b"),
}


@contextmanager
def endless(first: bytes, rest: bytes) -> Iterator[int]:
    """Answer each request with ``first``, and then with ``rest`` without end; yield the port."""

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(65536)
            client.sendall(first)
            while True:
                client.sendall(rest)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


async def lost(server: Server) -> tuple[str, float]:
    """Return what is said when a server is given up, and how much our memory grew, MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    changed = asyncio.Event()
    said: list[str] = []
    source = McpServer("bad", server, "/", changed.set, said.append)
    async with running(source.run()):
        await until(lambda: source.trouble, changed)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return " ".join([*said, source.trouble]), grown / 1e3


def program(tmp_path: Path, *arguments: Any) -> Server:
    (tmp_path / "server.py").write_text(PROGRAM)
    return Server(command=sys.executable, args=[str(tmp_path / "server.py"), *arguments])


def test_a_program_that_prints_a_line_without_end_is_ended(tmp_path: Path) -> None:
    said, _ = asyncio.run(lost(program(tmp_path, "endless")))
    assert f"bad: a message of more than {LONGEST} bytes: the connection is closed" in said


@pytest.mark.parametrize("what", ANSWERS)
def test_an_http_answer_without_end_is_not_read_for_ever(what: str) -> None:
    with endless(*ANSWERS[what]) as port:
        said, grown_mb = asyncio.run(lost(Server(url=f"http://127.0.0.1:{port}/mcp")))
    assert "no connection to this MCP server" in said
    assert grown_mb < 8 * LONGEST / 1e6


async def offers(server: Server, seconds: float) -> int:
    """Return how often the functions of a server were said to have changed."""
    first, changes = asyncio.Event(), 0

    def changed() -> None:
        nonlocal changes
        changes += 1
        first.set()

    async with running(McpServer("bad", server, "/", changed, lambda _: None).run()) as task:
        await asyncio.wait_for(first.wait(), PATIENCE_S)
        await asyncio.wait([task], timeout=seconds)
    return changes


def test_a_list_that_changes_all_the_time_is_offered_now_and_then(tmp_path: Path) -> None:
    changed = asyncio.run(offers(program(tmp_path, "changes"), 2 * LIST_S))
    assert 2 <= changed <= 4
