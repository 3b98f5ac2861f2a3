"""Which connections a server on this machine admits, and its token."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from shared import door
from shared.door import refusal

pytestmark = pytest.mark.unit

HERE = "127.0.0.1:8790"


@pytest.mark.parametrize("host", [HERE, "localhost:8790", "LOCALHOST", "[::1]:8790", "127.9.9.9"])
def test_a_program_on_this_machine_is_admitted(host: str) -> None:
    assert refusal(host, None, ()) == ""
    # websocket-client sends the server's own address.
    assert refusal(host, f"http://{host}", ()) == ""


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:8790", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.2", "["],
)
def test_a_name_that_was_pointed_to_this_machine_is_refused(host: str) -> None:
    assert refusal(host, None, ()).startswith("Host is ")
    assert refusal(host, f"http://{host}", ()).startswith("Host is ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1:3000",
        "http://127.0.0.1.evil.example",
        "http://[",
        "http://[::1",
        f"http://{HERE}/",
        f"http://evil.example?://{HERE}",
    ],
)
def test_a_page_is_refused_unless_it_was_named(origin: str) -> None:
    assert refusal(HERE, origin, ("https://other.example",)).endswith("is not admitted")
    assert refusal(HERE, origin, ("https://other.example", origin)) == ""


def test_a_name_that_the_person_gave_this_machine_is_admitted() -> None:
    assert refusal("Kitchen.lan:8791", "https://kitchen.lan:8791", (), ("kitchen.lan:8791",)) == ""
    assert refusal("other.lan:8791", None, (), ("kitchen.lan:8791",)).startswith("Host is ")
    evil = refusal("kitchen.lan", "https://evil.example", (), ("kitchen.lan",))
    assert evil.endswith("is not admitted")


def test_all_processes_get_the_same_token(tmp_path: Path) -> None:
    token = door.token(tmp_path)
    assert len(token) >= 32
    assert door.token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / door.TOKEN_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [door.TOKEN_FILE]
    assert door.is_token(token, token)
    assert not door.is_token("", token)
    assert not door.is_token("ü", token)
    assert not door.is_token("", "")


def test_a_damaged_token_is_replaced(tmp_path: Path) -> None:
    (tmp_path / door.TOKEN_FILE).write_text("abc")
    token = door.token(tmp_path)
    assert len(token) >= 32
    assert door.token(tmp_path) == token


def test_a_port_is_announced_and_withdrawn(tmp_path: Path) -> None:
    assert door.port(tmp_path, "playback") == 0
    door.announce(tmp_path, "playback", 4711)
    assert door.port(tmp_path, "playback") == 4711
    assert door.port(tmp_path, "capture") == 0
    (tmp_path / "capture.port").write_text("x")
    assert door.port(tmp_path, "capture") == 0
    door.withdraw(tmp_path, "playback")
    door.withdraw(tmp_path, "playback")
    assert door.port(tmp_path, "playback") == 0
