"""Waiting for sockets and file descriptors."""

from __future__ import annotations

import math

import zmq

#: What a poller found ready.
Ready = list["zmq.Socket[bytes] | int"]


class Poller:
    """Waits for ZeroMQ sockets and file descriptors: ZeroMQ's own poller, with seconds."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def watch(self, what: zmq.Socket[bytes] | int, *, write: bool = False) -> None:
        """Wait for ``what`` to be readable, or, with ``write``, also to be writable."""
        self._poller.register(what, zmq.POLLIN | (zmq.POLLOUT if write else 0))

    def unwatch(self, what: zmq.Socket[bytes] | int) -> None:
        """Stop waiting for ``what``."""
        self._poller.unregister(what)

    def wait(self, seconds: float) -> Ready:
        """Return what is ready, after at most ``seconds``, or an empty list."""
        # Rounded up to ms: rounded down, a timer due in 0.4 ms would make the loop spin.
        timeout_ms = max(0, math.ceil(seconds * 1000))
        return [what for what, _ in self._poller.poll(timeout_ms)]
