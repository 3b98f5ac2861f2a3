"""The proxy through which link connects: the setting ``link.proxy``, or the environment's. Pure.

The environment is read as curl reads it, with three exceptions. A server on this machine is never
reached through a proxy, because a demonstration must not leave the machine. ``NO_PROXY`` may also
name a port, and a ``*.`` in front of a domain counts as a dot. ``socks://`` means SOCKS 5.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

SETTING = "link.proxy"
#: The value of the setting that means: through no proxy.
NONE = "none"
#: The names that the usual /etc/hosts gives this machine, beside ``localhost`` and those below it.
LOCAL_NAMES = frozenset(
    {"localhost.localdomain", "localhost4", "localhost6", "localhost6.localdomain6",
     "ip6-localhost", "ip6-loopback"}
)  # fmt: skip
#: The schemes of a proxy's URL, each with its port unless the URL has one.
PORTS = {"http": 1080, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080,
         "socks5h": 1080, "socks": 1080}  # fmt: skip
#: How ``link.proxy`` and the environment write a proxy.
FORM = "[http|https|socks5|socks5h://][user:password@]host[:port]"


class ProxyProblem(ValueError):
    """Raised when a text is not the address of a proxy. The text of the error has no password."""


@dataclass(frozen=True)
class Proxy:
    """The address of a proxy, and where the address was found."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    #: ``link.proxy`` or the name of an environment variable.
    source: str = SETTING

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS. Otherwise the proxy takes an HTTP CONNECT."""
        return self.scheme.startswith("socks")

    @property
    def looks_up(self) -> bool:
        """Whether the proxy looks up the server's name. Otherwise link does."""
        return self.scheme not in ("socks4", "socks5")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def choose(url: str, setting: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy through which to reach a WebSocket URL; None: reach it directly.

    ``setting``: the value of ``link.proxy``. "" means the environment, ``none`` means no proxy, and
    any other value is the address of a proxy, whatever the environment says. Raises ProxyProblem.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    secure = parts.scheme == "wss"
    setting = setting.strip()
    if is_local(host) or setting.lower() == NONE:
        return None
    if setting:
        return parse(setting, SETTING)
    port = parts.port or (443 if secure else 80)
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    # As in curl, an empty variable counts as unset. CGI programs have the header "Proxy" of a
    # request in HTTP_PROXY, so the upper-case name of that variable is not read.
    names = ["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY"]
    if not secure:
        names = ["ws_proxy", "WS_PROXY", "http_proxy"]
    for name in (*names, "all_proxy", "ALL_PROXY"):
        if environment.get(name):
            return None if is_exempt(host, port, exempt) else parse(environment[name], name)
    return None


def parse(text: str, source: str = SETTING) -> Proxy:
    """Return the proxy that an address names. Without a scheme it is an HTTP proxy.

    Raises ProxyProblem, whose text names ``source`` and not the address: it may hold a password.
    """
    text = text.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    # "http:/host:3128" reads as a host "http" with a path.
    cut_scheme = "://" not in text and re.match(r"[a-z0-9]+:/", text, re.IGNORECASE)
    # A mark of the password has ended the host: http://user:12/34@host:3128 reads as user:12.
    cut_login = scheme and "@" in f"{parts.path}{parts.query}{parts.fragment}"
    odd = cut_scheme or cut_login or re.search(r"[\s\x00-\x20]", text)
    if scheme not in PORTS or not host or port == 0 or odd:
        raise ProxyProblem(
            f"{source} is not the address of a proxy: expected {FORM}"
            " (write @ : / # ? % of a password as %40 %3A %2F %23 %3F %25)"
        )
    return Proxy(
        "socks5h" if scheme == "socks" else scheme,
        host.rstrip("."),
        port or PORTS[scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        source,
    )


def is_local(host: str) -> bool:
    """Return whether a host is this machine."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or host in LOCAL_NAMES:
        return True
    address = _address(host) or _short_address(host)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def is_exempt(host: str, port: int, exempt: str) -> bool:
    """Return whether ``NO_PROXY`` exempts a server from the proxy.

    ``exempt``: names, addresses and networks, separated by commas or blanks. A name stands for
    itself and for all names below it. ``*`` alone stands for every server.
    """
    if exempt.strip() == "*":
        return True
    host = host.lower().strip("[]").rstrip(".")
    return any(_matches(host, port, entry) for entry in re.split(r"[,\s]+", exempt.lower()))


def _matches(host: str, port: int, entry: str) -> bool:
    """Return whether an entry of ``NO_PROXY``, in lower case, stands for a server."""
    named = re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry)
    if named is not None:
        if int(named[2]) != port:
            return False
        entry = named[1]
    address = _address(host)
    if address is not None:
        network = _network(entry)
        return network is not None and address in network
    name = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _short_address(host: str) -> ipaddress.IPv4Address | None:
    """Return an IPv4 address in a form that a connection accepts too: ``127.1``, ``0x7f000001``."""
    if not re.fullmatch(r"[0-9a-fx.]+", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network of an entry such as ``10.0.0.0/8``, ``10.0.0.1`` or ``[::1]``."""
    host, slash, bits = entry.partition("/")
    host = host.strip("[]")
    try:
        # As in curl, /0 stands for the whole address, and not for every address.
        return ipaddress.ip_network(f"{host}/{bits}" if slash and bits.strip("0") else host, False)
    except ValueError:
        return None
