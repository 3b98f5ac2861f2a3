"""The head of an answer to the upgrade, as servers and proxies write it."""

from __future__ import annotations

import pytest

from services.link.head import parse

pytestmark = pytest.mark.unit


def test_a_plain_head_stays_as_it_is() -> None:
    text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Empty: \r\n\r\n"
    assert parse(text) == (101, {"upgrade": "websocket", "x-empty": ""}, text)


@pytest.mark.parametrize(
    ("lines", "headers"),
    [
        ("X-Long: a\r\n  b\r\n\tc\r\n", {"x-long": "a b c"}),
        ("upgrade:websocket\n", {"upgrade": "websocket"}),
        ("X-Name: M\xfcnchen\r\n", {"x-name": "M\xfcnchen"}),
        ("nonsense\r\n: nameless\r\n", {"nonsense": ""}),
        ("", {}),
    ],
    ids=["folded", "line-feeds", "latin-1", "no-colon", "none"],
)
def test_odd_headers_are_read(lines: str, headers: dict[str, str]) -> None:
    text = f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1")
    status, found, plain = parse(text)
    assert (status, found) == (101, headers)
    # websocket-client takes one header a line, with a colon, in UTF-8.
    assert all(":" in line for line in plain.decode().splitlines()[1:-1])
    assert parse(plain)[0] == 101


@pytest.mark.parametrize(
    "first", ["HTTP/1.0 503", "http/1.1 503 Service Unavailable", "HTTP/2 503"]
)
def test_a_status_is_found(first: str) -> None:
    assert parse(f"{first}\r\n\r\n".encode())[0] == 503


@pytest.mark.parametrize(
    "head",
    ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 1010\n\n", "\n\n", "\xff\n\n"],
)
def test_a_head_that_is_not_http_has_no_status(head: str) -> None:
    assert parse(head.encode("latin-1"))[0] == 0
