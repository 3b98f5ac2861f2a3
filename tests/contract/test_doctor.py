"""``bargein doctor`` and the server: each obstacle on the way is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.doctor import server
from commands.doctor.findings import Finding
from shared.config import Link
from tests.support import certificates, servers

pytestmark = pytest.mark.contract

KEY = "marker-key-123456"


def findings(url: str, **changes: str) -> dict[str, Finding]:
    settings = Link(url=url, proxy="none", connect_timeout_s=5.0)
    for name, value in changes.items():
        settings = Link(url=url, connect_timeout_s=5.0, **{"proxy": "none", name: value})  # type: ignore[arg-type]
    return {finding.check: finding for finding in server.check(settings, KEY)}


def test_a_session_begins_and_is_closed_and_costs_nothing() -> None:
    with servers.Server(servers.serve) as standin:
        found = findings(standin.url)
        seen = standin.wait()
    assert found["key"].ok
    assert seen.events == []  # nothing was asked for
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert found["clock"].ok is None  # this server sends no date


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (servers.refuse("401 Unauthorized"), "check OPENAI_API_KEY"),
        (servers.refuse("404 Not Found"), "check link.url"),
        (servers.close_with(1000), ""),
        (
            lambda c: c.upgrade().close(3000, "invalid_request_error.invalid_api_key"),
            "check OPENAI_API_KEY",
        ),
    ],
)
def test_a_refusal_says_what_to_do(script: servers.Script, words: str) -> None:
    with servers.Server(script) as standin:
        found = findings(standin.url)
    assert found["key"].ok is (not words)
    assert words in found["key"].text
    assert KEY not in found["key"].text


def test_a_server_without_a_known_name_or_without_an_answer() -> None:
    found = findings("wss://no-such-host.invalid/v1/realtime")
    assert found["DNS"].ok is False
    assert found["key"].ok is None
    with servers.Server(servers.serve) as standin:
        gone = standin.url
    assert "Connection refused" in findings(gone)["connection"].text


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(certificates.NAMED)
    with servers.Server(servers.serve, certificate) as standin:
        found = findings(standin.url)
    assert found["TLS"].ok is False
    assert "check the clock" in found["TLS"].text


def test_a_proxy_that_does_not_answer() -> None:
    with servers.Server(servers.serve) as standin:
        port = standin.port
    found = findings("wss://realtime.invalid/v1", proxy=f"http://127.0.0.1:{port}")
    assert found["proxy"].text == f"http://127.0.0.1:{port}, from link.proxy"
    assert found["connection"].ok is False


def test_without_a_key_the_way_to_the_server_is_looked_at_all_the_same() -> None:
    with servers.Server(servers.serve) as standin:
        settings = Link(url=standin.url, proxy="none")
        found = {each.check: each for each in server.check(settings, None)}
        assert standin.connections == []
    assert found["DNS"].ok
    assert found["TLS"].ok is None
    assert "key" not in found


def command(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_the_token_of_a_command_opens_the_session_and_is_not_shown(tmp_path: Path) -> None:
    def echo(connection: servers.Connection) -> None:
        connection.upgrade().close(3000, f"bad token {KEY}")

    printing = command(tmp_path / "token", f'echo \'{{"accessToken": "{KEY}"}}\'')
    for script, good in ((servers.serve, True), (echo, False)):
        with servers.Server(script) as standin:
            settings = Link(url=standin.url, proxy="none", token_command=printing)
            key, found = server.find_key(settings)
            found += server.check(settings, key)
            assert standin.wait().headers["authorization"] == f"Bearer {KEY}"
        by_check = {each.check: each for each in found}
        assert by_check["token"].ok
        assert by_check["key"].ok is good
        assert KEY not in str(found)
    assert "bad token ****" in by_check["key"].text


def test_a_token_command_that_fails_is_a_fault(tmp_path: Path) -> None:
    failing = command(tmp_path / "token", f"echo {KEY}; echo log in first >&2; exit 3")
    key, [found] = server.find_key(Link(token_command=failing))
    assert key is None
    assert (found.check, found.ok) == ("token", False)
    assert found.text == "link.token_command ended with code 3: log in first"
