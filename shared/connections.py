"""A limit for the connections of one listening socket.

A stranger may open connections and send nothing. Each holds a descriptor, so there is a limit, and
a connection that has not shown the token makes way for a new one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

#: The most connections at once: a page has two, a button one.
MOST = 64


class Connections:
    """The connections of one listening socket, the oldest first."""

    def __init__(self) -> None:
        self._open: OrderedDict[asyncio.Transport, bool] = OrderedDict()  # whether it is trusted

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
