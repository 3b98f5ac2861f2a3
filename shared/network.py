"""The addresses of stages on more than one machine, and the key that protects them.

On one machine, every endpoint is a socket in the bus directory. ``bus.machines`` moves the
endpoints of the stages that it names to ``tcp://`` addresses. There, CURVE encrypts everything, and
both sides prove that they have the key of the bus. All stages have the same key: a publisher serves
only readers with the key, and a reader accepts only publishers with the key.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

import zmq
from zmq.utils import z85

from shared import private, registry
from shared.redaction import Refusal

#: The longest time between two attempts to reach a publisher, ms: its machine may be off.
RECONNECT_MAX_MS = 500
#: The length of a key as text: 32 bytes in Z85.
KEY_LENGTH = 40
#: libzmq asks at this address whether to accept a peer (ZAP, RFC 27).
_ZAP = "inproc://zeromq.zap.01"


class NetworkError(Refusal):
    """Raised when the bus's key cannot be used. The text says what to do."""


def publishers() -> dict[str, list[str]]:
    """Return the endpoints of each publisher in the registry."""
    found: dict[str, list[str]] = {}
    for topic in registry.TOPICS:
        endpoints = found.setdefault(topic.publisher, [])
        if topic.endpoint not in endpoints:
            endpoints.append(topic.endpoint)
    return found


def parse(machines: Sequence[str]) -> dict[str, str]:
    """Return the address of each endpoint that ``bus.machines`` moves out of the bus directory.

    A line is ``tcp://<IP address>:<first port> <stage> …``. The endpoints of its stages get the
    ports from the first one on, in the order of the line. Raises ValueError, with what is wrong.
    """
    known = publishers()
    found: dict[str, str] = {}
    for line in machines:
        address, *stages = line.split()
        host, port = _host_and_port(address)
        if not stages:
            raise ValueError(f"{line!r} names no stage")
        for stage in stages:
            if stage not in known:
                raise ValueError(f"{stage!r} is no stage: expected one of {' '.join(known)}")
            for endpoint in known[stage]:
                if endpoint in found:
                    raise ValueError(f"{stage!r} is named twice")
                if port > 65535:
                    raise ValueError(f"{line!r} needs ports above 65535")
                found[endpoint] = f"tcp://{host}:{port}"
                port += 1
    if len(set(found.values())) < len(found):
        raise ValueError("two stages would have the same port")
    return found


def _host_and_port(address: str) -> tuple[str, int]:
    expected = f"{address!r}: expected tcp://<IP address>:<port>"
    try:
        parts = urlsplit(address)
        host = ipaddress.ip_address(parts.hostname or "")
        port = parts.port or 0
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme != "tcp" or not port or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError(expected)
    if host.is_unspecified or host.is_multicast:
        raise ValueError(f"{address!r}: expected an address of one machine")
    return (f"[{host}]" if host.version == 6 else str(host)), port


def leaves_the_machine(addresses: Mapping[str, str]) -> bool:
    """Return whether any of these addresses is not a loopback address."""
    hosts = {urlsplit(address).hostname or "" for address in addresses.values()}
    return any(not ipaddress.ip_address(host).is_loopback for host in hosts)


def read_key(path: Path) -> bytes:
    """Return the secret key of the bus.

    Raises NetworkError if the file has no key, or if others can read or replace the file.
    """
    source = f"bus.key_file{private.name_of(path)}"
    try:
        text, found = private.read_secret(path)
    except FileNotFoundError:
        raise NetworkError(f"{source}: there is no such file: {_HOW}") from None
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{source}: {getattr(error, 'strerror', 'not a path')}: {_HOW}"
        ) from None
    if who := private.exposed(found):
        raise NetworkError(
            f"{source}: {who}: run 'chmod 600 {quote(str(path))}',"
            " and make a new key if somebody may have read it"
        )
    key = text.strip()
    try:
        if len(key) != KEY_LENGTH:
            raise ValueError
        zmq.curve_public(key)
    except (ValueError, zmq.ZMQError):
        raise NetworkError(f"{source}: holds no key: {_HOW}") from None
    return key


_HOW = "make one with 'bargein keys', and copy it to the other machine"


def make_key(path: Path) -> None:
    """Write a new secret key to a file that only we can read. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _, secret = zmq.curve_keypair()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(secret + b"\n")


@dataclass(frozen=True)
class Network:
    """The endpoints that are not in the bus directory, and the key of the bus."""

    #: The ``tcp://`` address of each such endpoint.
    addresses: Mapping[str, str] = field(default_factory=dict)
    #: The secret key; empty: the endpoints are open to everybody who can reach them.
    key: bytes = field(default=b"", repr=False)

    def where(self, directory: Path, endpoint: str) -> str:
        """Return the ZeroMQ address of an endpoint."""
        return self.addresses.get(endpoint) or f"ipc://{directory}/{endpoint}.ipc"

    def prepare(self, socket: zmq.Socket[bytes], endpoint: str, *, listens: bool) -> None:
        """Set the options of a socket before it binds to an endpoint (``listens``) or connects."""
        address = self.addresses.get(endpoint, "")
        if not address:
            return
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        if not self.key:
            return
        public = zmq.curve_public(self.key)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.key)
        if listens:
            # CURVE alone accepts any peer that knows our public key. The guard also compares the
            # peer's own key.
            _guard()
            socket.setsockopt(zmq.ZAP_DOMAIN, public)
            socket.setsockopt(zmq.CURVE_SERVER, 1)
        else:
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            socket.setsockopt(zmq.CURVE_SERVERKEY, public)


#: All endpoints are in the bus directory.
LOCAL = Network()


class _Guard:
    """Decides on a thread of its own which peers libzmq accepts (ZAP)."""

    def __init__(self) -> None:
        self.refused = 0
        self._asked: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
        self._asked.setsockopt(zmq.LINGER, 0)
        self._asked.bind(_ZAP)
        threading.Thread(target=self._serve, name="guard", daemon=True).start()

    def _serve(self) -> None:
        while True:
            frames: list[bytes] = self._asked.recv_multipart()
            admitted = _admitted(frames)
            self.refused += not admitted
            request = frames[1] if len(frames) > 1 else b""
            status = b"200" if admitted else b"400"
            self._asked.send_multipart([b"1.0", request, status, b"", b"", b""])


def _admitted(frames: Sequence[bytes]) -> bool:
    """Return whether a ZAP request (RFC 27) comes from a peer with the key of the bus.

    The socket's domain is the public key that the peer must have.
    """
    if len(frames) != 7 or frames[0] != b"1.0" or frames[5] != b"CURVE" or len(frames[6]) != 32:
        return False
    return z85.encode(frames[6]) == frames[2]


_GUARDS: list[_Guard] = []


def _guard() -> _Guard:
    if not _GUARDS:
        _GUARDS.append(_Guard())
    return _GUARDS[0]


def refused() -> int:
    """Return how many peers with another key this process's endpoints have refused."""
    return _GUARDS[0].refused if _GUARDS else 0
