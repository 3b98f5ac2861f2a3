"""The server for pages that are a device: what strangers can do to it."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from shared.audio.browser.pages import Pages
from shared.audio.device import NoPage

pytestmark = pytest.mark.unit


class Closed:
    """A door that refuses everybody, and knows the port."""

    port = 0

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
