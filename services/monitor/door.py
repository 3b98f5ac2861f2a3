"""The web server of the door: a thread of its own, which the stage's loop never waits for.

Each side puts work for the other side into a queue. The stage's loop takes the clients' requests
with `take`, after a call of ``wake``. The server's thread delivers the loop's messages to the
clients. The two sides share nothing else, and neither waits for the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn

from services.monitor.app import MAX_COMMAND_BYTES, MOST_WATCHERS, PUBLIC, application
from services.monitor.command_runner import Answer
from services.monitor.commands import Command, Outcome
from services.monitor.connections import counted, tls
from services.monitor.guard import Guard
from services.monitor.watcher import VOICES, Watcher
from shared.door import ADDRESS, SOCKET, token
from shared.private import replace_own
from shared.settings import Monitor

T = TypeVar("T")

#: How long the server may take to begin and to end, s.
BEGIN_S, END_S = 10.0, 0.5
#: How many commands wait for the loop at most. More of them would wait for a loop that is stopped.
MAX_REQUESTS = 64
#: How many messages wait for the server's thread at most. It takes them at once, unless it hangs.
MAX_OUTGOING = 4096


@dataclass(frozen=True)
class CommandRequest:
    """A command, and what to call with its outcome."""

    command: Command
    answer: Answer


@dataclass(frozen=True)
class SnapshotRequest:
    """A watcher that needs a snapshot."""

    watcher: Watcher


@dataclass(frozen=True)
class WantsChanged:
    """Reports that the watchers, taken together, want other kinds of messages than before."""

    wants: frozenset[str]


@dataclass(frozen=True)
class MetricsRequest:
    """A request for the figures, and what to call with them."""

    answer: Callable[[bytes], None]


Request = CommandRequest | SnapshotRequest | WantsChanged | MetricsRequest


class Door:
    """The web server. ``wake`` wakes the stage's loop, and ``warn`` logs a line."""

    def __init__(
        self,
        directory: Path,
        settings: Monitor,
        wake: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._wake = wake
        self._warn = warn
        self._token = token(directory)
        #: The page's address; "": it listens on its Unix socket alone.
        self.address = ""
        self._requests: deque[Request] = deque()
        # Not yet delivered: the message, its single receiver (None: all), and the kind that a
        # receiver must want.
        self._outgoing: deque[tuple[bytes, Watcher | None, str]] = deque(maxlen=MAX_OUTGOING)
        self._scheduled = False
        # The watchers that get the changes, and those that have not got their first snapshot.
        self._watchers: set[Watcher] = set()
        self._joining: set[Watcher] = set()
        self._server_loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()
        self._begun.wait(BEGIN_S)

    # on the stage's loop

    def take(self) -> Request | None:
        """Return the oldest request that waits, or None."""
        return self._requests.popleft() if self._requests else None

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def tell(self, change: dict[str, Any], kind: str = "", to: Watcher | None = None) -> None:
        """Send a change to all watchers, to those that want ``kind``, or to the watcher ``to``.

        Any thread may call this.
        """
        self._tell(msgspec.json.encode(change), kind, to)

    def tell_sound(self, sound: bytes) -> None:
        """Pass sound to the watchers that want it. Any thread may call this."""
        self._tell(sound, VOICES, None)

    def _tell(self, data: bytes, kind: str, to: Watcher | None) -> None:
        self._outgoing.append((data, to, kind))
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the server's loop is closed
                self._server_loop.call_soon_threadsafe(self._deliver)

    def keep_place(self) -> None:
        """Make the files again that somebody removed from the bus directory."""
        if not all((self._directory / name).exists() for name in (SOCKET, ADDRESS)):
            self._server_loop.call_soon_threadsafe(
                lambda: asyncio.ensure_future(self._listen_on_unix())
            )

    def close(self) -> None:
        """End the server."""
        self._server_loop.call_soon_threadsafe(self._server_loop.stop)
        self._thread.join(END_S)
        for name in (SOCKET, ADDRESS):
            with contextlib.suppress(OSError):
                (self._directory / name).unlink()

    # on the server's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._server_loop)
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        answers = application(self, self._directory)
        app = Guard(answers, self._token, PUBLIC, self._settings.hosts)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=MAX_COMMAND_BYTES,
            # Sound does not become smaller, and the rest is small.
            ws_per_message_deflate=False,
            http="h11",
            loop="asyncio",
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        self._config, self._state = config, uvicorn.Server(config).server_state
        self._server_loop.run_until_complete(self._listen())
        self._begun.set()
        self._server_loop.run_forever()

    async def _listen(self) -> None:
        if self._settings.listen:
            try:
                await self._listen_on_tcp()
            except (OSError, ssl.SSLError) as error:
                self._warn(
                    f"the door is open on its Unix socket only: {self._settings.listen}: {error}:"
                    " see [monitor] in config.toml"
                )
        with contextlib.suppress(OSError):
            # A monitor that was killed has left it.
            (self._directory / SOCKET).unlink()
        await self._listen_on_unix()

    async def _listen_on_tcp(self) -> None:
        settings = self._settings
        context = tls(settings.certificate) if settings.certificate else None
        listening = self._bound()
        made = counted(self._config, self._state)
        self._servers.append(
            await self._server_loop.create_server(made, sock=listening, ssl=context)
        )
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if context else 'http'}://{host}:{port}/"

    def _bound(self) -> socket.socket:
        """Return a socket on the port in the settings, or on a free one if that port is taken."""
        family = socket.AF_INET6 if ":" in self._settings.listen else socket.AF_INET
        for port in dict.fromkeys((self._settings.port, 0)):
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((self._settings.listen, port))
            except OSError:
                listening.close()
                if not port:
                    raise
            else:
                return listening
        raise OSError("no port")

    async def _listen_on_unix(self) -> None:
        path = self._directory / SOCKET
        if not path.exists():
            made = counted(self._config, self._state)
            self._servers.append(await self._server_loop.create_unix_server(made, path))
            path.chmod(0o600)
        replace_own(self._directory / ADDRESS, f"{self.address}\n".encode())

    def _deliver(self) -> None:
        self._scheduled = False
        while self._outgoing:
            data, to, kind = self._outgoing.popleft()
            if to is not None:
                if to in self._joining:
                    self._joining.discard(to)
                    self._watchers.add(to)
                to.put(data)
                continue
            for watcher in self._watchers:
                if not kind or kind in watcher.wants:
                    watcher.put(data, sound=kind == VOICES)

    def join(self, wants: frozenset[str]) -> Watcher | None:
        """Add a watcher; None if there are too many."""
        if len(self._watchers) + len(self._joining) >= MOST_WATCHERS:
            return None
        watcher = Watcher(wants)
        self._joining.add(watcher)
        self._request(SnapshotRequest(watcher))
        self._tell_wants()
        return watcher

    def again(self, watcher: Watcher) -> None:
        """Ask for another snapshot for a watcher."""
        self._request(SnapshotRequest(watcher))

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher."""
        self._watchers.discard(watcher)
        self._joining.discard(watcher)
        self._tell_wants()

    def _tell_wants(self) -> None:
        """Tell the loop which kinds of messages the watchers want, taken together."""
        everybody = (watcher.wants for watcher in (*self._watchers, *self._joining))
        self._request(WantsChanged(frozenset[str]().union(*everybody)))

    def _request(self, request: Request) -> None:
        self._requests.append(request)
        self._wake()

    async def follow(self, command: Command) -> Outcome:
        """Follow a command, and return its outcome."""
        if len(self._requests) >= MAX_REQUESTS:
            return Outcome(done=False, outcome="monitor is busy: try again")
        coming: asyncio.Future[Outcome] = self._server_loop.create_future()
        self._request(CommandRequest(command, lambda outcome: self._settle(coming, outcome)))
        return await coming

    async def metrics(self) -> bytes:
        """Return the figures in Prometheus's format."""
        coming: asyncio.Future[bytes] = self._server_loop.create_future()
        self._request(MetricsRequest(lambda figures: self._settle(coming, figures)))
        return await coming

    def _settle(self, coming: asyncio.Future[T], result: T) -> None:
        """Set the result of a future, from the stage's loop."""

        def settle() -> None:
            if not coming.done():
                coming.set_result(result)

        with contextlib.suppress(RuntimeError):  # the server's loop is closed: nobody waits
            self._server_loop.call_soon_threadsafe(settle)
