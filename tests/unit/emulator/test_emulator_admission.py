"""Which clients the emulator admits, by the headers Host and Origin."""

from __future__ import annotations

import pytest

from services.emulator.admission import refusal

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
    ["https://evil.example", "null", "", "http://127.0.0.1:3000", "http://127.0.0.1.evil.example"],
)
def test_a_page_is_refused_unless_it_was_named(origin: str) -> None:
    assert "--origin" in refusal(HERE, origin, ("https://other.example",))
    assert refusal(HERE, origin, ("https://other.example", origin)) == ""
