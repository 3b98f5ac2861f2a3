"""A limit for the connections of one listening socket.

A stranger may open connections and send nothing. Each holds a descriptor, so there is a limit, and
a connection that has not shown the token makes way for a new one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from shared.private import read_file

#: The most connections at once: a page has two, a button one.
MOST = 64


def tls(certificate: str) -> ssl.SSLContext:
    """Return the context for a certificate's file. Raises OSError, also as ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = Path(certificate).expanduser()
    read_file(path)  # raises OSError for a pipe or a device, on which OpenSSL would read for ever
    context.load_cert_chain(path)
    return context


class Connections:
    """The connections of one listening socket, the oldest first."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        self._config = config
        self._state = state
        self._open: OrderedDict[asyncio.Transport, bool] = OrderedDict()  # whether it is trusted

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        return _Counted(self, self._config, self._state)

    def came(self, transport: asyncio.Transport) -> None:
        """Note a new connection. If there are too many, end the oldest that is not trusted."""
        for known in [known for known in self._open if known.is_closing()]:
            del self._open[known]
        self._open[transport] = False
        if len(self._open) > MOST:
            oldest = next(known for known, trusted in self._open.items() if not trusted)
            del self._open[oldest]
            oldest.abort()

    def trust(self, transport: asyncio.Transport) -> None:
        """Note that a connection has shown the token."""
        if transport in self._open:
            self._open[transport] = True


class _Counted(H11Protocol):
    """uvicorn's connection, which is counted. The guard calls ``state["trust"]``."""

    def __init__(self, kept: Connections, config: uvicorn.Config, state: ServerState) -> None:
        shown: dict[str, Any] = {"trust": lambda: kept.trust(self.transport)}
        super().__init__(config=config, server_state=state, app_state=shown)
        self._kept = kept

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._kept.came(transport)
