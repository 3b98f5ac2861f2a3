"""The server for pages that are a device: what strangers and bad pages can do to it."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from shared import door as doors
from shared.audio.browser import wire
from shared.audio.browser.pages import Pages
from shared.audio.device import NoPage
from shared.connections import MOST, Connections

pytestmark = pytest.mark.unit


class Closed:
    """A door that refuses everybody, and knows the port."""

    port = 0

    def __init__(self) -> None:
        connections = Connections()
        self.came, self.trust = connections.came, connections.trust

    def refusal(self, host: str, origin: str | None, token: str) -> str:
        return "not admitted"

    def announce(self, port: int) -> None:
        self.port = port

    def withdraw(self) -> None:
        self.port = 0


def test_strangers_that_come_again_and_again_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Closed()
    with closing(Pages(door, "speaker")) as pages:
        with pytest.raises(NoPage):
            pages.page()
        for _ in range(5):
            with closing(socket.create_connection(("127.0.0.1", door.port), 10)) as stranger:
                stranger.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    b"Sec-WebSocket-Version: 13\r\n\r\n"
                )
                assert b"403" in stranger.recv(100)
    assert [line for line in caplog.messages if "refused" in line] == [
        "refused a page: not admitted"
    ]


def test_strangers_that_say_nothing_make_way_for_a_newer_connection() -> None:
    door = Closed()
    with ExitStack() as stack:
        pages = stack.enter_context(closing(Pages(door, "speaker")))
        with pytest.raises(NoPage):
            pages.page()
        strangers = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", door.port), 2)))
            for _ in range(MOST + 1)
        ]
        # Without the limit, the server would close this connection only after 5 s.
        try:
            assert strangers[0].recv(1) == b""
        except ConnectionResetError:
            pass


class Open(Closed):
    """A door that admits everybody."""

    def refusal(self, host: str, origin: str | None, token: str) -> str:
        return ""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"type":"%s"}' % ("ü" * 110), id="quoted-in-the-reason"),
        pytest.param('{"x":%s}' % ("[" * 20_000), id="deeply-nested"),
    ],
)
def test_a_page_that_sends_no_valid_text_is_hung_up_on_with_the_reason(text: str) -> None:
    door = Open()
    with closing(Pages(door, "speaker")) as pages:
        with pytest.raises(NoPage):
            pages.page()
        with connect(f"ws://127.0.0.1:{door.port}") as page:
            page.send('{"type":"about","latency_ms":1}')
            page.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                page.recv(timeout=2)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == wire.BROKEN
    assert closed.value.rcvd.reason.startswith("not a valid message: ")


def test_a_directory_in_the_place_of_the_port_file_does_not_end_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shared.audio.browser.pages._ANNOUNCE_S", 0.01)
    with closing(Pages(doors.Admission(tmp_path, "playback"), "speaker")) as pages:
        with pytest.raises(NoPage):
            pages.page()
        port = doors.port(tmp_path, "playback")
        file = tmp_path / "playback.port"
        file.unlink()
        file.mkdir()
        page = [Subprotocol("bargein.voice"), Subprotocol(f"token.{doors.token(tmp_path)}")]
        for _ in range(5):
            with connect(f"ws://127.0.0.1:{port}", subprotocols=page) as connection:
                connection.ping().wait(2)
        file.rmdir()
        deadline = monotonic() + 5
        while doors.port(tmp_path, "playback") != port:
            assert monotonic() < deadline
