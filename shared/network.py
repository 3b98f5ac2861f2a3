"""Where the stages meet when they are on more than one machine, and who is let in there.

On one machine every endpoint is a socket in the bus directory. ``bus.machines`` moves the endpoints
of the stages it names to ``tcp://`` addresses. There CURVE encrypts and both sides prove that they
have the bus's key, one key for all: a publisher serves only readers that have it, and a reader
hears only publishers that have it. Imports zmq, as shared/bus.py does.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import zmq
from zmq.utils import z85

from shared import registry

#: The longest between two tries to reach a publisher: its machine may be off.
RECONNECT_MAX_MS = 500
#: A key in text: 32 bytes as Z85.
KEY_LENGTH = 40
_ZAP = "inproc://zeromq.zap.01"


class NetworkError(Exception):
    """Raised when the stages cannot meet as configured: its text says what to do."""


def publishers() -> dict[str, list[str]]:
    """Give every publisher there is and its endpoints, as the registry has them."""
    found: dict[str, list[str]] = {}
    for topic in registry.TOPICS:
        endpoints = found.setdefault(topic.publisher, [])
        if topic.endpoint not in endpoints:
            endpoints.append(topic.endpoint)
    return found


def parse(machines: Sequence[str]) -> dict[str, str]:
    """Read ``bus.machines``: give the address of each endpoint that is not in the bus directory.

    A line is ``tcp://<IP address>:<first port> <stage> …``; the stages' endpoints take the ports
    from the first on, in the order of the line. Raises ValueError, with what is wrong.
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
    """Say whether any of these addresses is more than loopback."""
    hosts = {urlsplit(address).hostname or "" for address in addresses.values()}
    return any(not ipaddress.ip_address(host).is_loopback for host in hosts)


def read_key(path: Path) -> bytes:
    """Give the bus's secret key. Raises NetworkError where there is none that is ours alone."""
    try:
        # not to wait for a writer, where it is a pipe
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise NetworkError(f"bus.key_file {path}: not a file: {_HOW}")
            if found.st_uid not in (os.getuid(), 0):
                raise NetworkError(f"bus.key_file {path}: belongs to user {found.st_uid}: {_HOW}")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise NetworkError(
                    f"bus.key_file {path}: others can read it (mode"
                    f" {stat.S_IMODE(found.st_mode):04o}): run chmod 600 {path},"
                    " and make another one if they may have"
                )
            key = file.read(1000).strip()
    except FileNotFoundError:
        raise NetworkError(f"bus.key_file {path}: there is none: {_HOW}") from None
    except OSError as error:
        raise NetworkError(f"bus.key_file {path}: {error.strerror}: {_HOW}") from None
    try:
        if len(key) != KEY_LENGTH:
            raise ValueError
        zmq.curve_public(key)
    except (ValueError, zmq.ZMQError):
        raise NetworkError(f"bus.key_file {path}: holds no key: {_HOW}") from None
    return key


_HOW = "make one with 'bargein keys', and copy it to the other machine"


def make_key(path: Path) -> None:
    """Make a new secret key for a bus, in a file that only we can read. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _, secret = zmq.curve_keypair()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(secret + b"\n")


@dataclass(frozen=True)
class Network:
    """The endpoints that are not in the bus directory, and the key that opens them ("": none)."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)

    def where(self, directory: Path, endpoint: str) -> str:
        """Give the ZeroMQ address of an endpoint."""
        return self.addresses.get(endpoint) or f"ipc://{directory}/{endpoint}.ipc"

    def prepare(self, socket: zmq.Socket[bytes], endpoint: str, *, listens: bool) -> None:
        """Set what a socket needs before it binds (``listens``) or connects to an endpoint."""
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
            # CURVE alone lets in whoever knows the public key: the guard asks for ours
            _guard()
            socket.setsockopt(zmq.ZAP_DOMAIN, public)
            socket.setsockopt(zmq.CURVE_SERVER, 1)
        else:
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            socket.setsockopt(zmq.CURVE_SERVERKEY, public)


#: Everything in the bus directory.
LOCAL = Network()


class _Guard:
    """Answers ZeroMQ's question whether a peer may come in, on a thread of its own (ZAP)."""

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
    """Say whether a request, as RFC 27 has it, is of a peer with the key of the socket's domain."""
    if len(frames) != 7 or frames[0] != b"1.0" or frames[5] != b"CURVE" or len(frames[6]) != 32:
        return False
    return z85.encode(frames[6]) == frames[2]


_GUARDS: list[_Guard] = []


def _guard() -> _Guard:
    if not _GUARDS:
        _GUARDS.append(_Guard())
    return _GUARDS[0]


def refused() -> int:
    """Give how many peers were turned away from this process's endpoints for having another key."""
    return _GUARDS[0].refused if _GUARDS else 0
