"""The connections of the door: their number is limited, and TLS protects them if it is set."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from shared.connections import Connections
from shared.private import read_file


def tls(certificate: str) -> ssl.SSLContext:
    """Return the context for a certificate's file. Raises OSError, also as ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = Path(certificate).expanduser()
    read_file(path)  # raises OSError for a pipe or a device, on which OpenSSL would read for ever
    context.load_cert_chain(path)
    return context


def counted(config: uvicorn.Config, state: ServerState) -> Callable[[], asyncio.Protocol]:
    """Return a function that returns the protocol for a new connection of one socket."""
    kept = Connections()
    return lambda: _Counted(kept, config, state)


class _Counted(H11Protocol):
    """uvicorn's connection, which is counted. The guard calls ``state["trust"]``."""

    def __init__(self, kept: Connections, config: uvicorn.Config, state: ServerState) -> None:
        shown: dict[str, Any] = {"trust": lambda: kept.trust(self.transport)}
        super().__init__(config=config, server_state=state, app_state=shown)
        self._kept = kept

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._kept.came(transport)
