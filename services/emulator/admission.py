"""Which clients may open a connection, by the headers Host and Origin of their request. Pure.

Every page in a browser can open a WebSocket to a port of this machine. The browser then names the
page's address in ``Origin``. A page can also make its own host name point to this machine (DNS
rebinding): then ``Host`` has that name. Other programs send no Origin, or the server's address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit


def refusal(host: str, origin: str | None, admitted: Sequence[str]) -> str:
    """Return why a connection is refused, or "" if it is accepted.

    ``host`` and ``origin`` are the request's headers. ``admitted`` has the origins of the pages
    that may connect.
    """
    if not _is_loopback(host):
        return f"Host is {host!r}, which is no address of this machine"
    if origin is None or origin in admitted or urlsplit(origin).netloc.lower() == host.lower():
        return ""
    return f"a page of {origin!r} is not admitted: see the option --origin"


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
