"""link goes on when something gets in the way of a server that has worked before.

A captive portal, another certificate, a slot, a clock, a proxy: see ``services/link/endings.py``.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from shared import messages
from tests.support import certificates, servers
from tests.support.links import COMPLAINT, KEY, Uplink, link, publisher, states, texts, wait_state
from tests.support.pipeline import PATIENCE_S, ROOT, Pipeline
from tests.support.proxies import HttpProxy, SocksProxy
from tests.support.servers import Connection, Script, Server

pytestmark = pytest.mark.process


def reset(connection: Connection) -> None:
    """Begin a session, then drop the connection as a crash would."""
    servers.begin(connection)
    connection.reset()


def full(connection: Connection) -> None:
    """Accept the connection, then say that there is no room, as a server with one slot does."""
    connection.upgrade()
    connection.send("error", error={"code": "session_limit_reached", "message": "One only."})
    connection.close(1008)


def refused(code: int, reason: str = "") -> Script:
    """Return a script that accepts the connection and closes it before a session begins."""
    return lambda connection: connection.upgrade().close(code, reason)


#: What link says about each answer, and the answer.
IN_THE_WAY: dict[str, Script] = {
    "HTTP 302 at the upgrade: a redirect to http://portal.test,": servers.refuse(
        "302 Found", "Location: http://portal.test/login?from=secret"
    ),
    "HTTP 200": servers.refuse("200 OK", body="<html>Welcome"),
    "HTTP 403": servers.refuse("403 Forbidden"),
    "HTTP 404": servers.refuse("404 Not Found"),
    "HTTP 401": servers.refuse("401 Unauthorized"),
    "HTTP 511 at the upgrade: the network wants a login": servers.refuse("511 Login"),
    "(1008): session_limit_reached: One only.": full,
    "(1008)": refused(1008),
    "(3000 invalid_request_error.invalid_api_key)": refused(
        3000, "invalid_request_error.invalid_api_key"
    ),
    "(4000 invalid_request_error.insufficient_quota)": refused(
        4000, "invalid_request_error.insufficient_quota"
    ),
}


def test_an_obstacle_after_a_good_connection_does_not_end_link(pipeline: Pipeline) -> None:
    scripts = [reset, *IN_THE_WAY.values(), servers.serve]
    with Server([*scripts, IN_THE_WAY["HTTP 403"], servers.serve, refused(3000)]) as server:
        child = link(pipeline, server.url, OPENAI_API_KEY=KEY)
        server.wait(len(scripts))
        wait_state(pipeline, "open", since=pipeline.bus.now)
        for reason, line in zip(
            IN_THE_WAY, child.matching("trying again in")[1:], strict=True
        ):  # the first one is about the reset
            assert reason in line
            # The state says it too.
            assert [s for s in states(pipeline, "waiting") if reason in s.reason and s.retry_ms]
        assert child.end() == 0
        # Another process on the same bus knows that this address and this key have worked.
        child = link(pipeline, server.url, OPENAI_API_KEY=KEY)
        server.wait(len(scripts) + 2)
        child.wait_line("HTTP 403 at the upgrade: .* trying again in")
        wait_state(pipeline, "open", since=pipeline.bus.now)
        assert child.end() == 0
        # Nothing is known of another key: the refusal ends link, with one line.
        child = link(pipeline, server.url, OPENAI_API_KEY=f"{KEY}-2")
        assert child.wait() == 1
        assert len(child.matching(COMPLAINT)) == 1
        found = [path for path in pipeline.bus_directory.iterdir() if KEY.encode() in _text(path)]
        assert found == []


def _text(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_another_certificate_and_a_clock_that_is_behind(pipeline: Pipeline, tmp_path: Path) -> None:
    good, early, other, trusted = (
        tmp_path / f"{name}.pem" for name in ("good", "early", "other", "trusted")
    )
    good.write_text(servers.CERTIFICATE + servers.CERTIFICATE_KEY)
    early.write_text(certificates.EARLY)
    other.write_text(certificates.NAMED)
    trusted.write_text(servers.CERTIFICATE + certificates.EARLY)
    with Server(servers.serve, early) as server:
        # The clock is behind at the very first attempt, as after a machine's start.
        child = link(pipeline, server.url, OPENAI_API_KEY=KEY, SSL_CERT_FILE=str(trusted))
        waits = wait_state(pipeline, "waiting")
        server.show(good)
        wait_state(pipeline, "open")
        server.show(other)
        since = pipeline.bus.now
        server.connections[0].socket.shutdown(socket.SHUT_RDWR)
        portal = wait_state(pipeline, "waiting", lambda s: "self-signed" in s.reason, since)
        server.show(good)
        wait_state(pipeline, "open", since=pipeline.bus.now)
        assert child.running
    # Newer versions of OpenSSL add "or the system clock is incorrect".
    assert "certificate is not yet valid" in waits.reason
    assert ": check the date of this machine's clock" in waits.reason
    assert portal.cause == "refused"
    assert "if this network wants a login" in portal.reason


def test_a_server_with_one_slot_is_connected_to_again(pipeline: Pipeline) -> None:
    pipeline.emulator("--slots", "1", "--expire", "3", "--reply", "tone:1")
    child = pipeline.stage("link")
    downlink = publisher(pipeline, "downlink", "session.renew")
    first = wait_state(pipeline, "open").session
    downlink.publish(messages.Renew(session=first, forced=False))
    # The old session has the slot, so it goes on until the server ends it.
    child.wait_line("could not renew the session: closed by the server .1008 .*session_limit")
    child.wait_line("closed by the server .1001 Your session hit the maximum duration")
    # Now its slot is not free at once.
    full = wait_state(pipeline, "waiting", lambda s: "session_limit_reached" in s.reason)
    # A server without room accepts the connection: only the session after it lasts.
    last = wait_state(pipeline, "open", lambda s: s.session > full.session)
    downlink.close()
    assert full.cause == "busy"
    assert "wait, or end another session" in full.reason
    assert last.session > first
    assert child.running
    lines = child.matching(COMPLAINT)
    assert ["could not renew" in lines[0], "(1001 " in lines[1], "(1008 " in lines[2]] == [True] * 3


def test_a_renewed_session_is_used_when_it_has_begun(pipeline: Pipeline) -> None:
    def slow(connection: Connection) -> None:
        connection.upgrade()
        begin.wait(PATIENCE_S)
        connection.send("session.created", event_id="new", session={})
        servers.serve_on(connection)

    begin = threading.Event()
    with Server([servers.serve, full, slow]) as server:
        child = link(pipeline, server.url)
        downlink = publisher(pipeline, "downlink", "session.renew")
        with Uplink(pipeline) as uplink:
            old = wait_state(pipeline, "open").session
            renew = messages.Renew(session=old, forced=False)
            downlink.publish(renew)
            child.wait_line("could not renew the session: closed by the server .1008.: session_li")
            pipeline.bus.health("link", lambda h: h.counters.get("renewals_failed"))
            downlink.publish(renew)
            server.wait(3)
            uplink.say("one", old)
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"one"' in e.payload)
            assert {s.session for s in states(pipeline, "open")} == {old}
            begin.set()
            new = wait_state(pipeline, "open", lambda s: s.session > old).session
            uplink.say("two", new)
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"two"' in e.payload)
        downlink.close()
        assert texts(server.connections[0]) == ["one"]
        assert texts(server.connections[2]) == ["two"]
        assert states(pipeline, "waiting") == []
    # The new session's events come in it, after its state and in their order.
    heard = [d.message for d in pipeline.bus.heard]
    created = [m for m in heard if isinstance(m, messages.ServerEvent) and b'"new"' in m.payload]
    assert [event.session for event in created] == [new]
    sessions = [m.session for m in heard if isinstance(m, messages.ServerEvent)]
    assert all(before <= after for before, after in pairwise(sessions))
    # The events of the connection that was not used are dropped.
    assert not [m for m in heard if isinstance(m, messages.ServerEvent) and b"limit" in m.payload]


def test_a_server_on_this_machine_is_reached_directly(pipeline: Pipeline) -> None:
    with Server(servers.serve) as server, HttpProxy(server.port) as proxy:
        variables = dict.fromkeys(
            ("http_proxy", "all_proxy", "ALL_PROXY"), f"http://{proxy.address}"
        )
        link(pipeline, server.url, **variables)
        wait_state(pipeline, "open")
        assert proxy.targets == []


def test_a_proxy_of_the_environment_and_one_that_wants_a_login(pipeline: Pipeline) -> None:
    pipeline.settings["link.allow_insecure"] = True
    url = "ws://realtime.test:1/v1/realtime"
    with (
        Server(servers.serve) as server,
        SocksProxy(server.port) as socks,
        HttpProxy(server.port, "me:secret") as http,
    ):
        child = link(pipeline, url, OPENAI_API_KEY=KEY, ALL_PROXY=f"socks5h://{socks.address}")
        child.wait_line(f"goes through the proxy socks5h://{socks.address} .ALL_PROXY")
        wait_state(pipeline, "open")
        assert socks.targets == ["realtime.test:1"]
        assert child.end() == 0
        # The setting wins, and the address has no scheme.
        pipeline.settings |= {"link.proxy": http.address, "link.model": "another"}
        child = link(pipeline, url, OPENAI_API_KEY=KEY, ALL_PROXY=f"socks5h://{socks.address}")
        assert child.wait() == 1
        [line] = child.matching(COMPLAINT)
        assert "wants a user and a password (HTTP 407)" in line
        assert f'set link.proxy = "http://USER:PASSWORD@{http.address}"' in line
        pipeline.settings["link.proxy"] = f"me:secret@{http.address}"
        child = link(pipeline, url, OPENAI_API_KEY=KEY)
        wait_state(pipeline, "open", since=pipeline.bus.now)
        assert http.targets == ["realtime.test:1"] * 2
        assert "secret" not in child.output
    child = pipeline.stage(
        "link",
        env={"OPENAI_API_KEY": KEY, "ALL_PROXY": "ftp://me:secret@proxy"},
        settings={"bus.directory": pipeline.directory / "another", "link.proxy": ""},
    )
    assert child.wait() == 1
    [line] = child.matching(COMPLAINT)
    assert "ALL_PROXY is not the address of a proxy" in line
    assert "secret" not in line


def test_a_dead_route_to_the_first_address_costs_a_moment(tmp_path: Path) -> None:
    # In a network of its own, in which packets to the server's IPv6 address are lost.
    found = subprocess.run(
        ["unshare", "-rnm", sys.executable, "-m", "tests.support.dead_route", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unshare failed" in found.stderr:
        pytest.skip("this machine gives nobody a network of their own")
    assert "open: session" in found.stdout, found
    # Without a second attempt beside the first, the kernel gives up after 3 s.
    assert float(found.stdout.split("took ")[1].split()[0]) < 2.5
