"""The checks of the way to the server and of the API key: DNS, proxy, TLS, clock, key.

The key is checked by opening one session and closing it. A session without a response costs
nothing, and every server has this request, unlike a list of models.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect

from commands.doctor.findings import Finding
from shared import config, proxy
from shared.proxy import Proxy
from shared.realtime import endpoint, token
from shared.realtime.advice import PORTAL, advice
from shared.realtime.first_messages import LONGEST, FirstMessages

MASK = "****"
#: A shorter key is no secret but a placeholder ("none", "EMPTY"), in characters.
SHORTEST = 8
#: How long the server may take to begin a session, s.
SESSION_S = 10.0
#: The largest difference of two clocks that harms nothing, s. Certificates and logins fail later.
CLOCK_S = 60
#: A certificate that ends within this time should be renewed by now, s.
CERTIFICATE_S = 7 * 86_400


def find_key(settings: config.Link) -> tuple[str | None, list[Finding]]:
    """Return the API key, or the token that link.token_command prints, and the findings.

    "": the server needs no key; None: there is no usable one.
    """
    try:
        key = endpoint.read_key(settings)
        if (command := token.of(settings)) is None:
            return key, []
        return command.get(), [Finding("token", True, "link.token_command prints one")]
    except endpoint.KeyProblem as error:
        return None, [Finding("key", False, str(error))]
    except token.TokenProblem as error:
        return None, [Finding("token", False, str(error))]


def check(settings: config.Link, key: str | None) -> Iterator[Finding]:
    """Yield the findings, in the order of the way to the server. Without a key, open no session.

    No finding contains the key, also if the server sends it back.
    """
    for finding in _check(settings, key):
        if key is not None and len(key) >= SHORTEST:
            yield finding._replace(text=finding.text.replace(key, MASK))
        else:
            yield finding


def _check(settings: config.Link, key: str | None) -> Iterator[Finding]:
    url, headers = endpoint.request(settings, key or "")
    way = proxy.choose(url, settings.proxy, os.environ)
    yield Finding("proxy", True, "none" if way is None else f"{way}, from {way.source}")
    host = urlsplit(url).hostname or ""
    if way is not None and way.looks_up:
        yield (found := _look_up(way.host, way.port))
    else:
        yield (found := _look_up(host, urlsplit(url).port or 443))
    if key is None:
        yield Finding("TLS", None, "not checked: there is no key to open a session with")
    elif not found.ok:
        yield Finding("key", None, "not checked: the server's name is not found")
    else:
        yield from _session(url, headers, way, settings.connect_timeout_s)


def _look_up(host: str, port: int) -> Finding:
    began_s = time.monotonic()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a name"
        return Finding("DNS", False, f"{host}: {why}: is the network up, and link.url right?")
    ms = (time.monotonic() - began_s) * 1000
    addresses = len({info[4][0] for info in found})
    plural = "" if addresses == 1 else "es"
    return Finding("DNS", True, f"{host} has {addresses} address{plural}, found in {ms:.0f} ms")


def _session(
    url: str, headers: list[str], way: Proxy | None, timeout_s: float
) -> Iterator[Finding]:
    """Open a session and close it; yield the findings about TLS, clock and key."""
    secure = url.startswith("wss:")
    try:
        opened = connect(
            url,
            additional_headers=[(n, v) for n, _, v in (h.partition(": ") for h in headers)],
            proxy=None if way is None else _address(way),
            open_timeout=timeout_s,
            max_size=LONGEST,
            compression=None,
        )
        with opened as connection:
            if secure:
                yield _tls(connection.socket)
            response = connection.response
            yield from _clock(None if response is None else response.headers)
            yield _first_messages(connection)
    except InvalidStatus as refused:
        if secure:
            yield Finding("TLS", True, "the server's certificate is trusted")
        yield from _clock(refused.response.headers)
        status = refused.response.status_code
        body = bytes(refused.response.body or b"")[:4096].decode("utf-8", "replace")
        yield Finding("key", False, f"HTTP {status} at the upgrade: {advice(body, status)}")
    except InvalidProxyStatus as refused:
        yield _blocked(
            f"the proxy answers HTTP {refused.response.status_code}: check {way and way.source}"
        )
    except ProxyError as error:
        yield _blocked(f"the proxy {way}: {error}: check {way and way.source}")
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            "TLS",
            False,
            f"certificate not trusted: {error.verify_message}: check the clock and link.url;"
            f" {PORTAL}",
        )
    except ssl.SSLError as error:
        yield Finding("TLS", False, f"{error.reason or error}: does link.url name the right port?")
    except TimeoutError:
        yield _blocked(
            f"no session within {timeout_s:g} s: is the network slow, or a firewall in the way?"
        )
    except (OSError, WebSocketException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield _blocked(f"{endpoint.where(url)}: {why}: is the network up, and link.url right?")


def _blocked(text: str) -> Finding:
    return Finding("connection", False, text)


def _address(way: Proxy) -> str:
    login = f"{quote(way.user, safe='')}:{quote(way.password, safe='')}@" if way.user else ""
    scheme, _, rest = str(way).partition("://")
    return f"{scheme}://{login}{rest}"


def _tls(connected: socket.socket) -> Finding:
    if not isinstance(connected, ssl.SSLSocket):
        return Finding("TLS", True, "inside the proxy's own TLS")
    certificate = connected.getpeercert() or {}
    until = str(certificate.get("notAfter", ""))
    text = f"{connected.version()}, certificate valid until {until or 'an unknown time'}"
    if until and ssl.cert_time_to_seconds(until) - time.time() < CERTIFICATE_S:
        return Finding("TLS", False, f"{text}: the server's owner should renew it")
    return Finding("TLS", True, text)


def _clock(headers: Headers | None) -> Iterator[Finding]:
    sent = "" if headers is None else headers.get("Date", "")
    try:
        there = parsedate_to_datetime(sent).timestamp()
    except (TypeError, ValueError):
        yield Finding("clock", None, "not checked: the server sends no date")
        return
    yield judge_clock(time.time() - there)


def judge_clock(ahead_s: float) -> Finding:
    """Return the finding about a clock that is ahead of the server's by ``ahead_s``, s."""
    if abs(ahead_s) <= CLOCK_S:
        return Finding("clock", True, f"within {CLOCK_S} s of the server's")
    side = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "clock",
        False,
        f"{abs(ahead_s):.0f} s {side} the server's: turn on the system's network time"
        " (timedatectl set-ntp true)",
    )


def _first_messages(connection: ClientConnection) -> Finding:
    """Wait until the server begins a session; return the finding about the key."""
    first = FirstMessages()
    ends_s = time.monotonic() + SESSION_S
    closed = ""
    try:
        while not first.over and (left_s := ends_s - time.monotonic()) > 0:
            text = connection.recv(left_s)
            first.read(text.encode() if isinstance(text, str) else text)
    except TimeoutError:
        closed = f"no session began within {SESSION_S:g} s"
    except ConnectionClosed as error:
        received = error.rcvd
        closed = "closed" if received is None else f"closed ({received.code} {received.reason})"
    if first.session_begun:
        return Finding("key", True, "the server began a session, which was closed again")
    words = ": ".join(filter(None, (closed, first.error)))
    return Finding("key", False, f"{words or 'no session began'}: {advice(words)}")
