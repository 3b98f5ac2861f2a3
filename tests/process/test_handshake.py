"""link and a server that meet: refusals, redirects, keys, proxies and certificates."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared import messages
from tests.support import servers
from tests.support.links import COMPLAINT, KEY, Uplink, link, texts, wait_state
from tests.support.pipeline import PATIENCE_S, Child, Keeper, Pipeline
from tests.support.servers import Connection, Script, Server

pytestmark = pytest.mark.process


# Refusals.


@dataclass
class Refusal:
    """One way to refuse a client, and what link prints about it."""

    script: Script
    says: str
    advice: str


REFUSALS = {
    "close 3000": Refusal(
        servers.close_with(3000, "invalid_request_error.invalid_api_key"),
        "closed by the server (3000 invalid_request_error.invalid_api_key)",
        "check OPENAI_API_KEY",
    ),
    "close 4000": Refusal(
        servers.close_with(4000, "invalid_request_error.invalid_model"),
        "closed by the server (4000 invalid_request_error.invalid_model)",
        "check link.model",
    ),
    "close 1008": Refusal(servers.close_with(1008), "closed by the server (1008)", "link.url"),
    "HTTP 200": Refusal(servers.refuse("200 OK", body="hello"), "HTTP 200", "link.url"),
    "HTTP 400": Refusal(servers.refuse("400 Bad Request"), "HTTP 400", "link.url"),
    "HTTP 401": Refusal(servers.refuse("401 Unauthorized"), "HTTP 401", "check OPENAI_API_KEY"),
    "HTTP 403": Refusal(
        servers.refuse("403 Forbidden", body='{"error":"no"}'), "HTTP 403", "check OPENAI_API_KEY"
    ),
    "HTTP 404": Refusal(servers.refuse("404 Not Found"), "HTTP 404", "check link.url"),
}


@pytest.fixture(scope="module")
def refused(kept: Keeper) -> Iterator[dict[str, tuple[Child, Server]]]:
    """Start one link for each refusal, all at the same time."""
    with Pipeline(kept) as pipeline:
        ran = {}
        for number, (name, refusal) in enumerate(REFUSALS.items()):
            server = Server(refusal.script)
            settings = {
                "bus.directory": pipeline.directory / f"bus{number}",
                "link.url": server.url,
            }
            ran[name] = pipeline.stage("link", settings=settings), server
        yield ran
        for _, server in ran.values():
            server.close()


@pytest.mark.parametrize("name", REFUSALS)
def test_stops_with_one_line_when_another_try_is_of_no_use(
    refused: dict[str, tuple[Child, Server]], name: str
) -> None:
    child, server = refused[name]
    assert child.wait() == 1
    [line] = child.matching(COMPLAINT)
    assert f"refused the connection: {REFUSALS[name].says}" in line
    assert REFUSALS[name].advice in line
    assert len(server.connections) == 1


def test_a_redirect_is_not_followed_with_the_key(pipeline: Pipeline) -> None:
    with Server(servers.serve) as elsewhere:
        location = f"Location: {elsewhere.url}"
        with Server(servers.refuse("302 Found", location)) as server:
            child = link(pipeline, server.url, OPENAI_API_KEY=KEY)
            assert child.wait() == 1
            assert server.connections[0].headers["authorization"] == f"Bearer {KEY}"
        assert elsewhere.connections == []
    [line] = child.matching(COMPLAINT)
    assert "redirect" in line
    assert "link.url" in line
    assert KEY not in child.output


# How link identifies itself.


def test_a_key_goes_as_a_bearer_token_and_nothing_tells_of_a_browser(pipeline: Pipeline) -> None:
    with Server(servers.serve) as server:
        link(pipeline, server.url, OPENAI_API_KEY=KEY)
        connection = server.wait()
    assert connection.headers["authorization"] == f"Bearer {KEY}"
    assert not {"api-key", "origin", "openai-beta", "cookie"} & set(connection.headers)
    assert connection.request.startswith("GET /v1/realtime?model=gpt-realtime-2.1 ")


def test_azure_is_given_an_api_key_through_a_proxy(pipeline: Pipeline) -> None:
    def proxy(connection: Connection) -> None:
        asked.append(connection.request)
        connection.respond("200 Connection established")
        connection.headers.clear()
        connection.read_request()
        upgraded.set()
        servers.serve(connection)

    asked: list[str] = []
    upgraded = threading.Event()
    pipeline.settings |= {"link.allow_insecure": True, "link.model": "my-deployment"}
    with Server(proxy) as server:
        link(
            pipeline,
            "ws://some.openai.azure.com/openai/v1/realtime",
            OPENAI_API_KEY=KEY,
            http_proxy=f"http://127.0.0.1:{server.port}",
        )
        connection = server.wait()
        assert upgraded.wait(PATIENCE_S)
        wait_state(pipeline, "open")
    assert asked == ["CONNECT some.openai.azure.com:80 HTTP/1.1"]
    assert connection.request.startswith("GET /openai/v1/realtime?model=my-deployment ")
    assert connection.headers["api-key"] == KEY
    assert "authorization" not in connection.headers


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a self-signed certificate and its key."""
    path = tmp_path / "certificate.pem"
    path.write_text(servers.CERTIFICATE + servers.CERTIFICATE_KEY)
    return path


def test_a_certificate_that_nobody_trusts_is_refused(pipeline: Pipeline, certificate: Path) -> None:
    with Server(servers.serve, certificate) as server:
        child = link(pipeline, server.url, OPENAI_API_KEY=KEY)
        assert child.wait() == 1
        assert server.connections == []
    [line] = child.matching(COMPLAINT)
    assert "certificate not trusted: self-signed certificate" in line


def test_a_certificate_for_another_name_is_refused(pipeline: Pipeline, certificate: Path) -> None:
    with Server(servers.serve, certificate) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        child = link(pipeline, url, SSL_CERT_FILE=str(certificate))
        assert child.wait() == 1
        assert server.connections == []
    [line] = child.matching(COMPLAINT)
    assert "certificate not trusted: Hostname mismatch" in line


def test_a_conversation_over_tls(pipeline: Pipeline, certificate: Path) -> None:
    def burst(connection: Connection) -> None:
        servers.begin(connection)
        for number in range(200):
            connection.send("test", number=number, pad="x" * 20_000)
        servers.serve_on(connection)

    with Server(burst, certificate) as server:
        link(pipeline, server.url, SSL_CERT_FILE=str(certificate))
        session = wait_state(pipeline, "open").session
        pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"number": 199' in e.payload)
        with Uplink(pipeline) as uplink:
            uplink.say("hello", session)
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"echo"' in e.payload)
        assert texts(server.connections[0]) == ["hello"]
    assert len(pipeline.bus.all(messages.ServerEvent)) == 202
