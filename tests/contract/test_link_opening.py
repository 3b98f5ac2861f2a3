"""link's attempt to connect, on real sockets: every address, one deadline, through any proxy."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from services.link import dialer, endings, inflow, opening
from services.link.connection import Connection, Ended, Text
from services.link.dialer import Dialer
from services.link.opening import Opening
from shared.config import Link as Settings
from shared.proxy import Proxy, parse
from tests.support import certificates, proxies, servers
from tests.support.proxies import HttpProxy, SocksProxy
from tests.support.servers import Server

pytestmark = pytest.mark.contract

#: A name that is not a loopback address, and that no resolver knows.
HOST = "realtime.test"
#: How long the tests wait for what comes at once, s.
PATIENCE_S = 10.0

Addresses = dict[str, list[tuple[str, int]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """Return a table of names: the lookup returns these addresses, in this order."""
    table: Addresses = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host not in table:
            return real(host, port, *rest, **options)
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in table[host]
            for ip in [address[0]]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


@pytest.fixture
def dead() -> Iterator[tuple[str, int]]:
    """Return an address that answers nothing: the queue of a listening socket is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a certificate for HOST that this process trusts, and its key."""
    path = tmp_path / "named.pem"
    path.write_text(certificates.NAMED)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def attempt(
    url: str, proxy: Proxy | None = None, timeout_s: float = 5.0, failed: set[object] | None = None
) -> Opening:
    return Opening(url, ["X-Test: 1"], proxy, timeout_s, set() if failed is None else failed)


def fails(made: Opening) -> endings.Ending:
    """Return why an attempt fails."""
    with pytest.raises(Ended) as raised:
        made.open()
    return raised.value.ending


def talk(opened: websocket.WebSocket, size: int = 100) -> None:
    """Send an event through link's own connection, and read the server's answer."""
    connection = Connection(opened, 1)
    try:
        connection.send(b'{"type":"test","text":"%b"}' % (b"x" * size))
        received: list[bytes] = []
        ends = time.monotonic() + PATIENCE_S
        while len(received) < 2:
            assert time.monotonic() < ends, received
            connection.send_waiting()
            message = connection.receive() if connection.has_more() else None
            if isinstance(message, Text):
                received.append(message.data)
        assert connection.first_messages.session_begun
        assert b"x" * size in received[1]
    finally:
        connection.close()


def test_the_round_trip_is_that_of_the_last_ping() -> None:
    def answer(connection: servers.Connection) -> None:
        servers.begin(connection)
        connection.frame(servers.PONG, b"")  # nobody has asked for it
        for late_s in (0.1, 0.0):
            opcode, data = connection.next_frame()
            assert opcode == servers.PING
            time.sleep(late_s)  # the first round trip is longer than the second
            connection.frame(servers.PONG, data)
            connection.send("test")
        connection.read()

    with Server(answer) as server:
        connection = Connection(attempt(server.url).open(), 1)
        trips, since_us = [], []
        asked_s = time.monotonic()
        for _ in range(3):
            while not isinstance(connection.receive() if connection.has_more() else None, Text):
                pass
            trips.append(connection.round_trip_us)
            since_us.append((time.monotonic() - asked_s) * 1e6)
            asked_s = time.monotonic()
            connection.look_after(0, 10)
        connection.close()
    assert trips[0] == 0
    # Not from an earlier ping on: that would be longer than this test has waited.
    assert 100_000 <= trips[1] <= since_us[1]
    assert 0 < trips[2] <= since_us[2]


# every address, one after the other


def test_a_dead_address_holds_up_the_next_one_for_a_quarter_of_a_second(
    names: Addresses, dead: tuple[str, int]
) -> None:
    with Server(servers.serve) as server:
        names[HOST] = [dead, dead, ("127.0.0.1", server.port)]
        before = time.monotonic()
        opened = attempt(f"ws://{HOST}/").open()
        took_s = time.monotonic() - before
        talk(opened)
        assert server.connections[0].headers["host"] == HOST
    # Two addresses are each given a head start.
    assert 2 * opening.STAGGER_S <= took_s < 4 * opening.STAGGER_S + 1


def test_an_address_that_refuses_holds_up_nothing(names: Addresses) -> None:
    with Server(servers.serve) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        names[HOST] = [("::1", closed.getsockname()[1]), ("127.0.0.1", server.port)]
        before = time.monotonic()
        talk(attempt(f"ws://{HOST}/").open())
        assert time.monotonic() - before < opening.STAGGER_S + 1


def test_the_reason_names_every_address(names: Addresses, dead: tuple[str, int]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = closed.getsockname()
        names[HOST] = [refusing, refusing]
        assert fails(attempt(f"ws://{HOST}/")) == endings.Lost("unreachable", "Connection refused")
        names[HOST] = [dead, refusing]
        ending = fails(attempt(f"ws://{HOST}/", timeout_s=0.6))
    assert ending == endings.Lost(
        "unreachable",
        "not open within 0.6 s: no answer from realtime.test (2 addresses tried)",
    )


def test_an_address_that_fails_after_it_answered_comes_last_the_next_time(
    names: Addresses,
) -> None:
    with Server(servers.refuse("502 Bad Gateway")) as bad, Server(servers.serve) as good:
        names[HOST] = [("127.0.0.1", bad.port), ("127.0.0.1", good.port)]
        failed: set[object] = set()
        assert fails(attempt(f"ws://{HOST}/", failed=failed)).cause == "busy"
        talk(attempt(f"ws://{HOST}/", failed=failed).open())
        assert len(bad.connections) == 1


# one deadline for everything


def test_a_server_that_does_not_answer_to_tls_is_given_up(trusted: Path, names: Addresses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        names[HOST] = [silent.getsockname()]
        before = time.monotonic()
        ending = fails(attempt(f"wss://{HOST}/", timeout_s=0.3))
        assert time.monotonic() - before < 1.3
    assert ending == endings.Lost(
        "unreachable", "not open within 0.3 s: realtime.test does not answer to TLS"
    )


class Loop:
    """What the dialer needs of a stage: a wake-up, and a timer."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.timers: list[threading.Timer] = []

    def after(self, seconds: float, call: Any) -> None:
        self.timers.append(threading.Timer(seconds, call))
        self.timers[-1].start()

    def outcome(self, made: Dialer) -> object:
        """Return the outcome of the attempt that was begun."""
        assert self.woken.wait(PATIENCE_S)
        self.woken.clear()
        outcome = made.take()
        assert outcome is not None
        return outcome


def test_a_lookup_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    lookups: list[str] = []

    def hang(host: str, *_: object, **__: object) -> list[Any]:
        lookups.append(host)
        over.wait()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    loop = Loop()
    settings = Settings(url=f"wss://{HOST}/", auth="none", proxy="none", connect_timeout_s=0.1)
    made = Dialer(settings, loop.woken.set, loop.after)
    for _ in range(dialer.MOST_HUNG):
        made.dial()
        assert loop.outcome(made) == endings.Lost(
            "unresolved", "not open within 0.1 s: no answer to the lookup of realtime.test"
        )
    # The threads do not pile up for ever.
    made.dial()
    assert loop.outcome(made) == dialer.HUNG
    assert len(lookups) == dialer.MOST_HUNG
    over.set()
    for thread in threading.enumerate():
        if thread.name == "connect":
            thread.join()
    made.dial()
    answer = loop.outcome(made)
    assert answer == endings.Lost(
        "unresolved", "realtime.test: Temporary failure in name resolution"
    )
    for timer in loop.timers:
        timer.join()
    # An attempt that was given up has no second outcome.
    assert made.take() is None


# proxies


def test_an_http_proxy_with_a_login(names: Addresses) -> None:
    with Server(servers.serve) as server, HttpProxy(server.port, "me:p@ss wörd") as proxy:
        proxy.slow = True
        chosen = parse(f"me:p%40ss%20w%C3%B6rd@{proxy.address}")
        talk(attempt(f"ws://{HOST}:1234/", chosen).open())
        assert proxy.targets == [f"{HOST}:1234"]
        # The proxy's login is not the server's business.
        assert "proxy-authorization" not in server.connections[0].headers
        wrong = fails(attempt(f"ws://{HOST}/", parse(f"me:wrong@{proxy.address}")))
        none = fails(attempt(f"wss://{HOST}/", parse(proxy.address)))
        proxy.schemes = ("Negotiate", "NTLM")
        ntlm = fails(attempt(f"wss://{HOST}/", parse(proxy.address)))
        assert proxy.targets[-1] == f"{HOST}:443"
    assert "does not accept the user and the password" in wrong.why
    assert "wants a user and a password (HTTP 407)" in none.why
    assert "by Negotiate or NTLM" in ntlm.why


@pytest.mark.parametrize(
    ("answer", "cause", "why"),
    [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused", "to realtime.test:443: HTTP 403"),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "busy", "to realtime.test:443: HTTP 502"),
        ("SSH-2.0-OpenSSH_9\r\n\r\n", "garbled", "is no HTTP proxy: it answers 'SSH-2.0"),
        ("HTTP/1.1 200", "reset", "hung up without an answer to CONNECT"),
        ("HTTP/1.1 200 OK\r\n" + "x" * 70_000, "reset", "hung up without an answer"),
    ],
)
def test_an_answer_of_a_proxy_that_is_no_connection(answer: str, cause: str, why: str) -> None:
    with HttpProxy(0) as proxy:
        proxy.refusal = answer
        ending = fails(attempt(f"wss://{HOST}/", parse(proxy.address)))
    assert ending.cause == cause
    assert why in ending.why


def test_a_proxy_that_announces_its_answer(names: Addresses) -> None:
    with Server(servers.serve) as server, HttpProxy(server.port) as proxy:
        proxy.before = "HTTP/1.1 100 Continue\r\n\r\n"
        talk(attempt(f"ws://{HOST}/", parse(proxy.address)).open())


def test_a_proxy_that_is_not_there_or_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = parse(f"127.0.0.1:{silent.getsockname()[1]}")
        ending = fails(attempt(f"wss://{HOST}/", proxy, 0.3))
        assert ending.why == f"not open within 0.3 s: the proxy {proxy} does not answer"
    ending = fails(attempt(f"wss://{HOST}/", proxy))
    assert ending == endings.Lost("unreachable", f"the proxy {proxy}: Connection refused")


@pytest.mark.parametrize("login", ["", "me:secret"])
def test_socks_lets_the_proxy_look_up_the_name(trusted: Path, login: str) -> None:
    with Server(servers.serve, trusted) as server, SocksProxy(server.port, login) as proxy:
        at = f"{login}@" if login else ""
        talk(attempt(f"wss://{HOST}/", parse(f"socks5h://{at}{proxy.address}")).open())
        assert proxy.targets == [f"{HOST}:443"]
        wrong = (
            fails(attempt(f"wss://{HOST}/", parse(f"socks5h://me:no@{proxy.address}")))
            if (login)
            else None
        )
        none = (
            fails(attempt(f"wss://{HOST}/", parse(f"socks5h://{proxy.address}")))
            if (login)
            else None
        )
    if login:
        for ending in (wrong, none):
            assert isinstance(ending, endings.Refused)
            assert "link.proxy" in ending.advice


def test_socks5_gets_each_of_our_addresses_until_one_works(names: Addresses) -> None:
    names[HOST] = [("2001:db8::1", 80), ("192.0.2.7", 80)]
    with Server(servers.serve) as server, SocksProxy(server.port) as proxy:
        talk(attempt(f"ws://{HOST}/", parse(f"socks5://{proxy.address}")).open())
        assert proxy.targets == ["2001:db8::1:80"]
        proxy.reply = proxies.HOST_UNREACHABLE
        ending = fails(attempt(f"ws://{HOST}/", parse(f"socks5://{proxy.address}")))
        assert proxy.targets[1:] == ["2001:db8::1:80", "192.0.2.7:80"]
        assert "does not connect to 192.0.2.7:80: Host unreachable" in ending.why
        proxy.reply = proxies.NOT_ALLOWED
        assert isinstance(
            fails(attempt(f"ws://{HOST}/", parse(f"socks5://{proxy.address}"))), endings.Refused
        )
        assert len(proxy.targets) == 4


def test_tls_inside_the_tls_of_a_proxy(
    trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, front = tmp_path / "both.pem", tmp_path / "front.pem"
    front.write_text(servers.CERTIFICATE + servers.CERTIFICATE_KEY)
    both.write_text(servers.CERTIFICATE + certificates.NAMED)
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with Server(servers.serve, trusted) as server, HttpProxy(server.port, "", front) as proxy:
        chosen = parse(f"https://{proxy.address}")
        # Larger than any buffer between the two: link has to go on where the socket stopped.
        talk(attempt(f"wss://{HOST}/", chosen).open(), 3_000_000)
        assert proxy.targets == [f"{HOST}:443"]
        monkeypatch.setenv("SSL_CERT_FILE", str(front))
        with pytest.raises(ssl.SSLCertVerificationError):
            attempt(f"wss://{HOST}/", chosen).open()
    with Server(servers.serve) as plain, HttpProxy(plain.port, "", front) as proxy:
        talk(attempt(f"ws://{HOST}/", parse(f"https://{proxy.address}")).open())


# redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Server(servers.serve) as elsewhere:
        location = f"Location: {elsewhere.url}?secret=1"
        with Server(servers.refuse(f"{status} Go", location)) as server:
            ending = fails(attempt(server.url))
        assert elsewhere.connections == []
    assert f"HTTP {status} at the upgrade: a redirect to ws://127.0.0.1:" in ending.why
    assert "secret" not in ending.why


# the answer to the upgrade


def test_a_page_without_end_is_not_read() -> None:
    def endless(connection: servers.Connection) -> None:
        connection.respond("200 OK", f"Content-Length: {10**12}")
        while True:
            connection.socket.sendall(b"x" * 65536)

    with Server(endless) as server:
        assert "HTTP 200" in fails(attempt(server.url)).why


def test_a_head_without_end_does_not_fill_the_memory() -> None:
    def endless(connection: servers.Connection) -> None:
        connection.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            connection.socket.sendall(b"X: %b\r\n" % (b"x" * 65536))

    with Server(endless) as server, pytest.raises(inflow.Flood, match="more than 65536 bytes"):
        attempt(server.url, timeout_s=30).open()


def test_a_refusal_is_reported_though_its_text_never_ends() -> None:
    said = '{"error":{"message":"Not in this country."}}'

    def slow(connection: servers.Connection) -> None:
        connection.respond("403 No", "Content-Type: application/json", "Content-Length: 999")
        connection.socket.sendall(said.encode())
        connection.read()

    with Server(slow) as server:
        before = time.monotonic()
        ending = fails(attempt(server.url, timeout_s=1.0))
        assert time.monotonic() - before < 1.0
    assert ending.why == "HTTP 403 at the upgrade: Not in this country."


def test_odd_heads_are_those_of_a_server_all_the_same() -> None:
    """An answer that announces another one (103), folded lines, and bytes that are not UTF-8."""

    def odd(connection: servers.Connection) -> None:
        connection.respond("103 Early Hints", "Link: </x>")
        connection.upgrade("X-Town: M\udcfcnchen,\r\n  Rome", "nonsense")
        connection.send("session.created", session={})
        servers.serve_on(connection)

    with Server(odd) as server:
        talk(attempt(server.url).open())
